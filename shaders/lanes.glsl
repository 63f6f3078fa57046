// A workgroup's sum, for kernels with one workgroup per row: the same order of additions every time.
shared float lane_sum[LOCAL];

float sum_lanes(float mine)
{
    barrier(); // the previous sum has been read by everyone
    lane_sum[gl_LocalInvocationIndex] = mine;
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < LOCAL; i++)
        sum += lane_sum[i];
    return sum;
}
