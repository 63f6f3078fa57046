# Writes a SPIR-V binary as a C array: cmake -DINPUT=x.spv -DNAME=x_spv -DOUTPUT=x.spv.h -P embed.cmake
file(READ ${INPUT} hex HEX)
string(REGEX REPLACE "(..)(..)(..)(..)" "0x\\4\\3\\2\\1u,\n" words "${hex}")
file(WRITE ${OUTPUT} "static const uint32_t ${NAME}[] = {\n${words}};\n")
