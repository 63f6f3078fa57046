// The same as gpu/exchange.glsl for devices that cannot pin the size of their subgroups or lack shuffles: values go
// through shared memory, in the same order.
shared vec4 lane_lo[LOCAL], lane_hi[LOCAL];
shared float lane_float[PER_LANE * LOCAL];
shared uint lane_uint[PER_LANE * LOCAL];

uint own_lane() { return gl_LocalInvocationIndex; }

float max_of_lanes(float mine, uint lane)
{
    barrier(); // what lay here before has been read by everyone
    lane_float[lane] = mine;
    barrier();
    for (uint i = 0; i < LOCAL; i++)
        mine = max(mine, lane_float[i]);
    return mine;
}

void hand_round(float scores[PER_LANE], uint keys[PER_LANE], uint lane)
{
    barrier();
    [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
        lane_float[u * LOCAL + lane] = scores[u];
        lane_uint[u * LOCAL + lane] = keys[u];
    }
    barrier();
}

float score_of(float own, uint u, uint from) { return lane_float[u * LOCAL + from]; }
uint key_of(uint own, uint u, uint from) { return lane_uint[u * LOCAL + from]; }

float sum_of_lanes(float mine, uint lane)
{
    barrier();
    lane_float[lane] = mine;
    barrier();
    float sum = 0.0;
    for (uint i = 0; i < LOCAL; i++)
        sum += lane_float[i];
    return sum;
}

void add_groups(inout vec4 lo, inout vec4 hi, uint lane, uint unit)
{
    barrier();
    lane_lo[lane] = lo;
    lane_hi[lane] = hi;
    barrier();
    [[unroll]] for (uint g = 1; g < N_GROUPS; g++) {
        lo += lane_lo[g * WIDTH + unit];
        hi += lane_hi[g * WIDTH + unit];
    }
}
