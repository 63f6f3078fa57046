#version 460
// h[n][i] = silu(g) * u with g, u = rows 2i, 2i+1 of W x[n]: the MLP's first matmul; gate and up rows lie interleaved.
// Shapes: W [2F, d], x [rows, d] with a pending norm, h [rows, F padded to 8]. Skeleton and lanes: matmul.glsl.
#extension GL_GOOGLE_include_directive : require
#include "matmul.glsl"

layout(std430, binding = 5) writeonly buffer Output { float h[]; } outputs;

void epilogue(uint item, uint row_index, uvec4 row, uint o, float y0, float y1)
{
    precise float h = y0 / (1.0 + exp(-y0)) * y1;
    if (o + 1 < args.n_out)
        outputs.h[row_index * args.out_stride + (args.row0 + o) / 2] = h;
}

void main()
{
    matmul();
}
