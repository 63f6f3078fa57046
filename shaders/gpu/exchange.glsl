// How the lanes of a workgroup of attention.comp hand values round: the workgroup is one subgroup (LOCAL = subgroup
// size), values go from register to register, and there is no barrier.
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require

// In which order the lanes of a subgroup lie in the workgroup Vulkan does not say.
uint own_lane() { return gl_SubgroupInvocationID; }

float max_of_lanes(float mine, uint lane)
{
    [[unroll]] for (uint step = LOCAL / 2; step > 0; step /= 2)
        mine = max(mine, subgroupShuffleXor(mine, step));
    return mine;
}

// After this a lane gets the scores and keys of another: `own` is the lane's own value, `u` says which of the PER_LANE it is.
void hand_round(float scores[PER_LANE], uint keys[PER_LANE], uint lane) {}
float score_of(float own, uint u, uint from) { return subgroupShuffle(own, from); }
uint key_of(uint own, uint u, uint from) { return subgroupShuffle(own, from); }

// In the order of the lanes.
float sum_of_lanes(float mine, uint lane)
{
    float sum = 0.0;
    [[unroll]] for (uint i = 0; i < LOCAL; i++)
        sum += subgroupShuffle(mine, i);
    return sum;
}

// Adds up what the groups of WIDTH lanes have, group by group.
void add_groups(inout vec4 lo, inout vec4 hi, uint lane, uint unit)
{
    const vec4 own_lo = lo, own_hi = hi;
    [[unroll]] for (uint g = 1; g < N_GROUPS; g++) {
        lo += subgroupShuffle(own_lo, g * WIDTH + unit);
        hi += subgroupShuffle(own_hi, g * WIDTH + unit);
    }
}
