#version 460
// h[n][i] = silu(g) * u with g, u = rows 2i, 2i+1 of W x[n]: the MLP's first matmul; gate and up rows lie interleaved.
// Shapes: W [2F, d], x [rows, d] owed a norm, h [rows, F padded to 8]. Skeleton and lanes: matmul.glsl.
#extension GL_GOOGLE_include_directive : require
#include "rows.glsl"
#include "matmul.glsl"

WRITE2(5, outputs);

void epilogue(uint item, uint row_index, uvec4 row, uint o, vec4 y, bool live)
{
    precise vec2 h = y.xz / (1.0 + exp(-y.xz)) * y.yw;
    if (o + 3 >= args.n_out)
        h.y = 0.0; // padding
    if (live && o + 1 < args.n_out)
        store2(outputs, (row_index * args.out_stride + (args.row0 + o) / 2) / 2, floatBitsToUint(h));
}

void main()
{
    matmul();
}
