// Attention of a tile of rows on a GPU: what attention.comp does, with every key and value loaded once for all rows. A
// lane scores PER_LANE positions of a block for each row; then lanes turn into (position group, the dimensions of one
// load) to add up the values. Queries and weights lie in shared memory, rows in fours. The workgroup is one subgroup.
//
// The positions come in blocks of PER_LANE * LOCAL, in the same order for every row. What
// a row does not read, it does not touch. So its sums depend on itself alone.
const uint WIDTH = UNITS < LOCAL ? UNITS : LOCAL; // lanes that cover a head's dimensions
const uint N_GROUPS = LOCAL / WIDTH;              // positions handled at the same time by such lanes
const uint PASSES = (UNITS + WIDTH - 1) / WIDTH;
const uint QUADS = (TILE_ROWS + 3) / 4, BLOCK = PER_LANE * LOCAL;
const uint SHARED = BLOCK * QUADS > 2 * LOCAL ? BLOCK * QUADS : 2 * LOCAL;

#include "exchange.glsl"

shared vec4 tile_query[8 * UNIT * UNITS * QUADS]; // [dimension, rows in fours]
shared vec4 tile_weights[SHARED];                 // [position, rows in fours]; at the end [lane, 2]
shared uvec2 tile_values[BLOCK];                  // where a position's value and scales begin

uint limit[4 * QUADS]; // positions that a row reads; 0: it is not in the walk under way
vec4 largest[QUADS], fade[QUADS], sum[QUADS];      // sum: the lane's part of it
vec4 o[4 * QUADS * PASSES * 2 * UNIT];             // the lane's dimensions of every row

void share_query(uint lane, uint first, uint n0, uint count, uint head)
{
    for (uint at = lane; at < 2 * UNIT * UNITS * QUADS; at += LOCAL) {
        const uint quad = at % QUADS, word = at / QUADS;
        vec4 x[4];
        [[unroll]] for (uint j = 0; j < 4; j++) {
            const uint index = (first + min(n0 + 4 * quad + j, count - 1)) * args.n_heads + head;
            x[j] = uintBitsToFloat(load4(query, index * QUERY_WORDS + min(word, QUERY_WORDS - 1)));
            x[j] = word < QUERY_WORDS ? x[j] : vec4(0.0);
        }
        [[unroll]] for (uint i = 0; i < 4; i++)
            tile_query[(4 * word + i) * QUADS + quad] = vec4(x[0][i], x[1][i], x[2][i], x[3][i]);
    }
}

bvec4 reads(uint quad, uint position)
{
    return lessThan(uvec4(position),
                    uvec4(limit[4 * quad], limit[4 * quad + 1], limit[4 * quad + 2], limit[4 * quad + 3]));
}

// Scores, maxima, and the weights that follow.
void weigh(uvec2 place, uint kv_head, uint lane, uint block, uint end)
{
    const float least = uintBitsToFloat(0xff800000u);
    entry e[PER_LANE];
    vec4 score[PER_LANE * QUADS];
    [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
        e[u] = entry_of(place, kv_head, min(block + u * LOCAL + lane, end - 1));
        tile_values[u * LOCAL + lane] = uvec2(e[u].value, e[u].scales);
        [[unroll]] for (uint j = 0; j < QUADS; j++)
            score[u * QUADS + j] = vec4(0.0);
    }
    [[dont_unroll]] for (uint c = 0; c < UNITS; c++) { // unrolled, it outgrows the instruction cache
        vec4 k[PER_LANE * 2 * UNIT];
        [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
            vec4 x[UNIT_WORDS];
            load_scaled(e[u].key, e[u].scales, 0, c, x);
            [[unroll]] for (uint i = 0; i < 2 * UNIT; i++)
                k[u * 2 * UNIT + i] = x[i];
        }
        [[unroll]] for (uint i = 0; i < 8 * UNIT; i++)
            [[unroll]] for (uint j = 0; j < QUADS; j++) {
                const vec4 q = tile_query[(8 * UNIT * c + i) * QUADS + j];
                [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
                    precise vec4 s = fma(q, vec4(k[u * 2 * UNIT + i / 4][i % 4]), score[u * QUADS + j]);
                    score[u * QUADS + j] = s;
                }
            }
    }
    [[unroll]] for (uint j = 0; j < QUADS; j++) {
        vec4 top = vec4(least);
        [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
            score[u * QUADS + j] = mix(vec4(least), score[u * QUADS + j], reads(j, block + u * LOCAL + lane));
            top = max(top, score[u * QUADS + j]);
        }
        const vec4 before = largest[j];
        [[unroll]] for (uint i = 0; i < 4; i++)
            largest[j][i] = max(before[i], max_of_lanes(top[i], lane));
        fade[j] = exp(before - largest[j]);
        precise vec4 total = sum[j] * fade[j];
        [[unroll]] for (uint u = 0; u < PER_LANE; u++) {
            const vec4 weight = exp(score[u * QUADS + j] - largest[j]);
            total += weight;
            tile_weights[(u * LOCAL + lane) * QUADS + j] = weight;
        }
        sum[j] = total;
    }
}

// The values, weighed. `edge`: some row reads only a part of the block; numbers that are none stay away from the others
// then, which a factor of zero would not do.
void add_values(uint lane, uint block, const bool edge)
{
    const uint unit = lane % WIDTH, group = lane / WIDTH;
    [[unroll]] for (uint n = 0; n < TILE_ROWS; n++)
        [[unroll]] for (uint i = 0; i < PASSES * 2 * UNIT; i++)
            o[n * PASSES * 2 * UNIT + i] *= fade[n / 4][n % 4];
    [[dont_unroll]] for (uint j = 0; j < BLOCK; j += N_GROUPS) {
        const uint at = min(j + group, BLOCK - 1);
        const bool live = j + group < BLOCK;
        const uvec2 value = tile_values[at];
        vec4 weight[QUADS];
        [[unroll]] for (uint i = 0; i < QUADS; i++)
            weight[i] = tile_weights[at * QUADS + i];
        [[unroll]] for (uint p = 0; p < PASSES; p++) {
            vec4 x[UNIT_WORDS];
            load_scaled(value.x, value.y, 1, min(p * WIDTH + unit, UNITS - 1), x);
            [[unroll]] for (uint n = 0; n < TILE_ROWS; n++)
                if (live && (!edge || block + at < limit[n]))
                    [[unroll]] for (uint i = 0; i < 2 * UNIT; i++) {
                        const uint own = (n * PASSES + p) * 2 * UNIT + i;
                        precise vec4 s = fma(vec4(weight[n / 4][n % 4]), x[i], o[own]);
                        o[own] = s;
                    }
        }
    }
}

// The sums of all lanes, in the order of the lanes.
void add_sums(uint lane)
{
    barrier();
    [[unroll]] for (uint j = 0; j < QUADS; j++)
        tile_weights[lane * QUADS + j] = sum[j];
    barrier();
    [[unroll]] for (uint j = 0; j < QUADS; j++) {
        precise vec4 total = vec4(0.0);
        for (uint i = 0; i < LOCAL; i++)
            total += tile_weights[i * QUADS + j];
        sum[j] = total;
    }
    barrier();
}

// What the groups of WIDTH lanes have, group by group: add_groups through shared memory and in a loop. Shuffles were
// most of this kernel's instructions where heads are small.
void add_tile_groups(inout vec4 lo, inout vec4 hi, uint lane, uint unit)
{
    barrier();
    tile_weights[2 * lane] = lo;
    tile_weights[2 * lane + 1] = hi;
    barrier();
    [[dont_unroll]] for (uint at = unit + WIDTH; at < N_GROUPS * WIDTH; at += WIDTH) {
        lo += tile_weights[2 * at];
        hi += tile_weights[2 * at + 1];
    }
}

void store(uint lane, uint n, uint p, uint row_index, uint head, bool live)
{
    const uint unit = lane % WIDTH, group = lane / WIDTH;
    const float scale = 1.0 / sum[n / 4][n % 4];
    vec4 lo = o[(n * PASSES * UNIT + p) * 2], hi = o[(n * PASSES * UNIT + p) * 2 + 1];
    add_tile_groups(lo, hi, lane, unit);
    const uint octet = (p / UNIT * WIDTH + unit) * UNIT + p % UNIT;
    if (live && group == 0 && octet < OCTETS) {
        const uint at = ((row_index * args.n_heads + head) * OCTETS + octet) * 2;
        store4(attended, at, floatBitsToUint(lo * scale));
        store4(attended, at + 1, floatBitsToUint(hi * scale));
    }
}

// The rows of `waits` that share the leader's sequence and depth.
uint walk(uint waits, uint lane, uint first_row, uint head)
{
    const uvec2 place = state_row(first_row + findMSB(waits)).zw;
    uint members = 0, end = 0, inside = 0xffffffffu; // positions that any of them reads; that all of them do
    [[unroll]] for (uint n = 0; n < 4 * QUADS; n++) {
        limit[n] = 0;
        if ((waits >> n & 1) != 0) {
            const uvec4 row = state_row(first_row + n);
            if (row.zw == place) {
                members |= 1 << n;
                limit[n] = row.y + 1;
                end = max(end, limit[n]);
                inside = min(inside, limit[n]);
            }
        }
    }
    [[unroll]] for (uint j = 0; j < QUADS; j++) {
        largest[j] = vec4(uintBitsToFloat(0xff800000u));
        sum[j] = vec4(0.0);
    }
    [[unroll]] for (uint i = 0; i < 4 * QUADS * PASSES * 2 * UNIT; i++)
        o[i] = vec4(0.0);
    for (uint block = 0; block < end; block += BLOCK) {
        barrier();
        weigh(place, head / HEADS_PER_KV, lane, block, end);
        barrier();
        if (block + BLOCK <= inside)
            add_values(lane, block, false);
        else
            add_values(lane, block, true);
    }
    add_sums(lane);
    // Row by row, not in a loop: compilers do not unroll one around that of add_tile_groups, whatever they are told,
    // and some look its accumulators up in memory then, in every loop above, too.
#define STORE(n, p) \
    if (PASSES * UNIT > p) \
        store(lane, n, PASSES * UNIT > p ? p : 0, first_row + n, head, (members >> n & 1) != 0);
#define STORE_ROW(number) \
    if (number < TILE_ROWS) { \
        const uint n = number < TILE_ROWS ? number : 0; \
        STORE(n, 0) STORE(n, 1) STORE(n, 2) STORE(n, 3) \
        for (uint p = 4; p < PASSES * UNIT; p++) \
            STORE(n, p) \
    }
    STORE_ROW(0) STORE_ROW(1) STORE_ROW(2) STORE_ROW(3) STORE_ROW(4) STORE_ROW(5) STORE_ROW(6) STORE_ROW(7)
    for (uint n = 8; n < TILE_ROWS; n++)
        for (uint p = 0; p < PASSES * UNIT; p++)
            STORE(n, p)
#undef STORE_ROW
#undef STORE
    return members;
}

void main()
{
    const uint head = gl_WorkGroupID.x, lane = own_lane();
    const uint n0 = gl_WorkGroupID.z * TILE_ROWS, first = table_first(args.table), count = table_count(args.table);
    if (n0 >= count)
        return;
    share_query(lane, first, n0, count, head);
    // As a rule one walk: prompts come with one sequence and one depth.
    uint waits = (1 << min(TILE_ROWS, count - n0)) - 1;
    while (waits != 0)
        waits &= ~walk(waits, lane, first + n0, head);
}
