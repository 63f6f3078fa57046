# Writes OUTPUT with the commit that is being built, when it has changed. "unknown" where SOURCE is not the top of a git checkout:
# for an unpacked archive inside another project's checkout, git would name that project's commit.
set(commit unknown)
if(EXISTS ${SOURCE}/.git) # a folder, or a file in a linked worktree
  execute_process(COMMAND git -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=* OUTPUT_VARIABLE described
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(commit ${described})
  endif()
endif()
set(text "#define MUNINN_COMMIT \"${commit}\"\n")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} old)
endif()
if(NOT "${old}" STREQUAL "${text}")
  file(WRITE ${OUTPUT} "${text}")
endif()
