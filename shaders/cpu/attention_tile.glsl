// Attention of a tile of rows on a CPU device, whose lanes are LANE_ROWS rows each: nothing is ever reduced across lanes.
// Such a device pays per load instruction: so each lane loads an octet of another position, and hands it round.
//
// The positions come in blocks of LOCAL, in the same order for every row. A row takes part
// in a block as far as its own position lies; what it leaves out it does not touch. So its sums depend on itself alone.
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require

const uint LANE_ROWS = TILE_ROWS / LOCAL, NONE = 0xffffffffu;

// Of the lane's rows.
uint limit[LANE_ROWS]; // positions that it reads; 0: it is not in the walk under way
vec4 q[LANE_ROWS * QUERY_WORDS], o[LANE_ROWS * QUERY_WORDS];
float largest[LANE_ROWS], sum[LANE_ROWS];

uint max_of_lanes(uint mine)
{
    [[unroll]] for (uint step = LOCAL / 2; step > 0; step /= 2)
        mine = max(mine, subgroupShuffleXor(mine, step));
    return mine;
}

// One block. `edge`: some row reads only a part of it; numbers that are none stay away from the others then, which a
// factor of zero would not do.
void attend(uvec2 place, uint kv_head, uint block, uint end, const bool edge)
{
    const entry e = entry_of(place, kv_head, min(block + gl_SubgroupInvocationID, end - 1));
    float weight[LANE_ROWS * LOCAL], fade[LANE_ROWS];
    [[unroll]] for (uint i = 0; i < LANE_ROWS * LOCAL; i++)
        weight[i] = 0.0;
    [[unroll]] for (uint c = 0; c < UNITS; c++) {
        vec4 x[UNIT_WORDS];
        load_scaled(e.key, e.scales, 0, c, x);
        [[unroll]] for (uint w = 0; w < UNIT_WORDS; w++)
            if (UNIT_WORDS * c + w < QUERY_WORDS)
                [[unroll]] for (uint i = 0; i < 4; i++)
                    [[unroll]] for (uint p = 0; p < LOCAL; p++) {
                        const float k = subgroupShuffle(x[w][i], p);
                        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                            precise float s = fma(q[r * QUERY_WORDS + UNIT_WORDS * c + w][i], k, weight[r * LOCAL + p]);
                            weight[r * LOCAL + p] = s;
                        }
                    }
    }
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        float top = largest[r];
        [[unroll]] for (uint p = 0; p < LOCAL; p++)
            if (!edge || block + p < limit[r])
                top = max(top, weight[r * LOCAL + p]);
        fade[r] = exp(largest[r] - top);
        precise float total = sum[r] * fade[r];
        [[unroll]] for (uint p = 0; p < LOCAL; p++) {
            weight[r * LOCAL + p] = exp(weight[r * LOCAL + p] - top);
            if (!edge || block + p < limit[r])
                total += weight[r * LOCAL + p];
        }
        sum[r] = total;
        largest[r] = top;
    }
    [[unroll]] for (uint c = 0; c < UNITS; c++) {
        vec4 x[UNIT_WORDS];
        load_scaled(e.value, e.scales, 1, c, x);
        [[unroll]] for (uint w = 0; w < UNIT_WORDS; w++)
            if (UNIT_WORDS * c + w < QUERY_WORDS)
                [[unroll]] for (uint i = 0; i < 4; i++) {
                    float acc[LANE_ROWS];
                    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
                        acc[r] = o[r * QUERY_WORDS + UNIT_WORDS * c + w][i] * fade[r];
                    [[unroll]] for (uint p = 0; p < LOCAL; p++) {
                        const float v = subgroupShuffle(x[w][i], p);
                        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
                            precise float s = fma(weight[r * LOCAL + p], v, acc[r]);
                            acc[r] = !edge || block + p < limit[r] ? s : acc[r];
                        }
                    }
                    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
                        o[r * QUERY_WORDS + UNIT_WORDS * c + w][i] = acc[r];
                }
    }
}

void store(uint r, uint row_index, uint head)
{
    [[unroll]] for (uint w = 0; w < QUERY_WORDS; w++)
        store4(attended, (row_index * args.n_heads + head) * QUERY_WORDS + w,
               floatBitsToUint(o[r * QUERY_WORDS + w] * (1.0 / sum[r])));
}

void main()
{
    const uint head = gl_WorkGroupID.x, n0 = gl_WorkGroupID.z * TILE_ROWS;
    const uint first = table_first(args.table), count = table_count(args.table);
    if (n0 >= count)
        return;
    uint index[LANE_ROWS];
    uvec4 rows[LANE_ROWS];
    bool waits[LANE_ROWS];
    [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
        const uint n = n0 + gl_SubgroupInvocationID * LANE_ROWS + r;
        index[r] = first + min(n, count - 1);
        rows[r] = state_row(index[r]);
        waits[r] = n < count;
        [[unroll]] for (uint w = 0; w < QUERY_WORDS; w++)
            q[r * QUERY_WORDS + w] = uintBitsToFloat(load4(query, (index[r] * args.n_heads + head) * QUERY_WORDS + w));
    }

    // One walk for the rows that share a sequence and a depth: as a rule all, since prompts come that way. The next walk
    // is that of the last row that waits.
    for (;;) {
        uint leader = 0;
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
            leader = max(leader, waits[r] ? index[r] + 1 : 0);
        leader = max_of_lanes(leader);
        if (leader == 0)
            break;
        const uvec2 place = state_row(leader - 1).zw;
        uint inside = NONE, end = 0; // positions that all rows of the walk read; and that any of them does
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++) {
            const bool member = waits[r] && rows[r].zw == place;
            limit[r] = member ? rows[r].y + 1 : 0;
            end = max(end, limit[r]);
            inside = min(inside, member ? limit[r] : NONE);
            largest[r] = uintBitsToFloat(0xff800000u);
            sum[r] = 0.0;
            [[unroll]] for (uint w = 0; w < QUERY_WORDS; w++)
                o[r * QUERY_WORDS + w] = vec4(0.0);
        }
        end = max_of_lanes(end);
        inside = ~max_of_lanes(~inside);
        uint block = 0;
        for (; block + LOCAL <= inside; block += LOCAL)
            attend(place, head / HEADS_PER_KV, block, end, false);
        for (; block < end; block += LOCAL)
            attend(place, head / HEADS_PER_KV, block, end, true);
        [[unroll]] for (uint r = 0; r < LANE_ROWS; r++)
            if (limit[r] > 0) {
                store(r, index[r], head);
                waits[r] = false;
            }
    }
}
