// The matmul skeleton on a GPU: its way for a few rows, and the one for many.
#include "skeleton.glsl"
#include "tile.glsl"

// Runs the skeleton. Returns the number of activation rows in this group (0: nothing to do, uniform over the workgroup).
uint matmul()
{
    if (PATH == PATH_TILED)
        return matmul_tiled();
    return matmul_apart();
}
