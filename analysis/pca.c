#include "analysis/pca.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/sampler.h"

/* Vectors beyond those wanted: the iteration converges by the ratio of variances across the whole block, not by that of
 * neighbours. */
enum { EXTRA = 8, BLOCK_MAX = MN_MAX_COMPONENTS + EXTRA, SWEEPS_MAX = 60 };
#define TOLERANCE 1e-9

static double dot(const double *a, const double *b, uint32_t n)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void add_scaled(double *a, double scale, const double *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        a[i] += scale * b[i];
}

/* ---- the small eigen problem ---- */

/* a <- J' a J, v <- v J, with the rotation J that makes a[p][q] zero. */
static void rotate(double *a, double *v, uint32_t n, uint32_t p, uint32_t q)
{
    if (a[p * n + q] == 0.0)
        return;
    const double theta = (a[q * n + q] - a[p * n + p]) / (2.0 * a[p * n + q]);
    const double t = (theta < 0.0 ? -1.0 : 1.0) / (fabs(theta) + sqrt(theta * theta + 1.0)),
                 c = 1.0 / sqrt(t * t + 1.0), s = t * c;
    for (uint32_t i = 0; i < n; i++) {
        const double x = a[i * n + p], y = a[i * n + q];
        a[i * n + p] = c * x - s * y;
        a[i * n + q] = s * x + c * y;
    }
    for (uint32_t i = 0; i < n; i++) {
        const double x = a[p * n + i], y = a[q * n + i];
        a[p * n + i] = c * x - s * y;
        a[q * n + i] = s * x + c * y;
    }
    for (uint32_t i = 0; i < n; i++) {
        const double x = v[i * n + p], y = v[i * n + q];
        v[i * n + p] = c * x - s * y;
        v[i * n + q] = s * x + c * y;
    }
}

/* Jacobi: eigenvectors of the symmetric a [n, n] become the columns of v, by falling eigenvalue. a is used up. */
static void eigen(double *a, double *v, double *values, uint32_t n)
{
    for (uint32_t i = 0; i < n * n; i++)
        v[i] = i % (n + 1) == 0 ? 1.0 : 0.0;
    for (int sweep = 0; sweep < SWEEPS_MAX; sweep++) {
        double off = 0.0, all = 0.0;
        for (uint32_t i = 0; i < n * n; i++) {
            all += a[i] * a[i];
            off += i % (n + 1) == 0 ? 0.0 : a[i] * a[i];
        }
        if (off <= 1e-30 * all)
            break;
        for (uint32_t p = 0; p < n; p++)
            for (uint32_t q = p + 1; q < n; q++)
                rotate(a, v, n, p, q);
    }
    for (uint32_t i = 0; i < n; i++)
        values[i] = a[i * n + i];
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = i + 1; j < n; j++)
            if (values[j] > values[i]) {
                const double value = values[i];
                values[i] = values[j];
                values[j] = value;
                for (uint32_t k = 0; k < n; k++) {
                    const double x = v[k * n + i];
                    v[k * n + i] = v[k * n + j];
                    v[k * n + j] = x;
                }
            }
}

/* ---- the large one ---- */

/* Vectors under way, each [block, d]; one allocation. */
struct work {
    double *q, *y, *turned, *row; /* row [d] */
};

static void draw(double *q, uint32_t d, uint32_t which)
{
    const uint32_t key[2] = {0x70636131, 0};
    for (uint32_t i = 0; i < d; i++) {
        const uint32_t counter[4] = {i, which, 0, 0};
        uint32_t bits[4];
        philox(counter, key, bits);
        q[i] = 2.0 * (double)unit_from_bits(bits[0]) - 1.0;
    }
}

/* Gram-Schmidt, twice for each vector. What depends on the vectors before it is drawn anew. */
static void orthonormalise(double *q, uint32_t n, uint32_t d)
{
    uint32_t fresh = BLOCK_MAX;
    for (uint32_t i = 0; i < n; i++) {
        double *a = q + (size_t)i * d;
        for (;;) {
            const double before = sqrt(dot(a, a, d));
            for (int round = 0; round < 2; round++)
                for (uint32_t j = 0; j < i; j++)
                    add_scaled(a, -dot(a, q + (size_t)j * d, d), q + (size_t)j * d, d);
            const double after = sqrt(dot(a, a, d));
            if (after > 1e-12 * before && after > 1e-150) {
                for (uint32_t k = 0; k < d; k++)
                    a[k] /= after;
                break;
            }
            draw(a, d, fresh++);
        }
    }
}

static const float *vector_at(const struct pca_vectors *v, size_t group, size_t i)
{
    return v->values + group * v->stride + i * v->d;
}

static void find_mean(struct pca *pca, const struct pca_vectors *v)
{
    const double n = (double)(v->n_groups * v->per_group);
    memset(pca->mean, 0, v->d * sizeof *pca->mean);
    for (size_t g = 0; g < v->n_groups; g++)
        for (size_t i = 0; i < v->per_group; i++)
            for (uint32_t k = 0; k < v->d; k++)
                pca->mean[k] += (double)vector_at(v, g, i)[k];
    for (uint32_t k = 0; k < v->d; k++)
        pca->mean[k] /= n;
}

static void centre(const struct pca *pca, const float *vector, double *out)
{
    for (uint32_t k = 0; k < pca->d; k++)
        out[k] = (double)vector[k] - pca->mean[k];
}

/* y = C q for all vectors of the block; the total variance on the way. */
static enum mn_status apply(struct pca *pca, const struct pca_vectors *v, struct work *w, uint32_t block)
{
    enum mn_status status = MN_OK;
    const double n = (double)(v->n_groups * v->per_group);
    pca->total = 0.0;
    memset(w->y, 0, (size_t)block * v->d * sizeof *w->y);
    for (size_t g = 0; g < v->n_groups && !status; g++) {
        status = v->progress ? progress_poll(v->progress) : MN_OK;
        for (size_t i = 0; i < v->per_group; i++) {
            centre(pca, vector_at(v, g, i), w->row);
            pca->total += dot(w->row, w->row, v->d) / n;
            for (uint32_t b = 0; b < block; b++)
                add_scaled(w->y + (size_t)b * v->d, dot(w->row, w->q + (size_t)b * v->d, v->d) / n, w->row, v->d);
        }
    }
    return status;
}

/* out = sum over b of turn[b][i] in[b], for each i. */
static void turn(double *out, const double *in, const double *by, uint32_t block, uint32_t d)
{
    memset(out, 0, (size_t)block * d * sizeof *out);
    for (uint32_t i = 0; i < block; i++)
        for (uint32_t b = 0; b < block; b++)
            add_scaled(out + (size_t)i * d, by[b * block + i], in + (size_t)b * d, d);
}

static void swap(double **a, double **b)
{
    double *x = *a;
    *a = *b;
    *b = x;
}

/* Turns q and y = C q so that q' C q is diagonal; returns how far the wanted vectors are from being eigenvectors. */
static double settle(struct pca *pca, struct work *w, uint32_t block)
{
    double small[BLOCK_MAX * BLOCK_MAX], by[BLOCK_MAX * BLOCK_MAX], values[BLOCK_MAX], worst = 0.0;
    const uint32_t d = pca->d;
    for (uint32_t i = 0; i < block; i++)
        for (uint32_t j = 0; j <= i; j++)
            small[i * block + j] = small[j * block + i] = dot(w->q + (size_t)i * d, w->y + (size_t)j * d, d);
    eigen(small, by, values, block);
    turn(w->turned, w->q, by, block, d);
    swap(&w->turned, &w->q);
    turn(w->turned, w->y, by, block, d);
    swap(&w->turned, &w->y);
    for (uint32_t i = 0; i < pca->n; i++) {
        double sum = 0.0;
        pca->variance[i] = values[i] > 0.0 ? values[i] : 0.0;
        for (uint32_t k = 0; k < d; k++) {
            const double r = w->y[(size_t)i * d + k] - values[i] * w->q[(size_t)i * d + k];
            sum += r * r;
        }
        worst = fmax(worst, sqrt(sum));
    }
    return values[0] > 0.0 ? worst / values[0] : 0.0;
}

static void fix_signs(struct pca *pca)
{
    for (uint32_t i = 0; i < pca->n; i++) {
        double *axis = pca->axes + (size_t)i * pca->d;
        uint32_t largest = 0;
        for (uint32_t k = 1; k < pca->d; k++)
            if (fabs(axis[k]) > fabs(axis[largest]))
                largest = k;
        for (uint32_t k = 0; axis[largest] < 0.0 && k < pca->d; k++)
            axis[k] = k == largest ? axis[k] : -axis[k];
        axis[largest] = fabs(axis[largest]);
    }
}

enum mn_status pca_fit(struct pca *pca, const struct pca_vectors *v, uint32_t n_components, const struct mn_log *log)
{
    assert(n_components >= 1 && n_components <= MN_MAX_COMPONENTS && v->d >= 1 && v->n_groups * v->per_group >= 1);
    const uint32_t d = v->d, n = n_components < d ? n_components : d, block = n + EXTRA < d ? n + EXTRA : d,
                   most = v->most_iterations ? v->most_iterations : PCA_ITERATIONS_MAX;
    *pca = (struct pca){
        .n = n, .d = d, .mean = malloc(d * sizeof(double)), .axes = malloc((size_t)n * d * sizeof(double))};
    const size_t many = (size_t)block * d;
    double *memory = malloc((3 * many + d) * sizeof *memory);
    if (!memory || !pca->mean || !pca->axes) {
        free(memory);
        pca_finish(pca);
        return log_fail(log, MN_ERR_MEMORY, "out of host memory for principal components of %u values", d);
    }
    struct work w = {.q = memory, .y = memory + many, .turned = memory + 2 * many, .row = memory + 3 * many};
    find_mean(pca, v);
    for (uint32_t b = 0; b < block; b++)
        draw(w.q + (size_t)b * d, d, b);
    orthonormalise(w.q, block, d);
    enum mn_status status = v->progress ? progress_begin(v->progress, "finding the components", 0) : MN_OK;
    while (!status) {
        status = apply(pca, v, &w, block);
        if (status)
            break;
        pca->n_iterations++;
        pca->residual = settle(pca, &w, block);
        if (pca->residual <= TOLERANCE || pca->n_iterations == most)
            break;
        memcpy(w.q, w.y, many * sizeof *w.q);
        orthonormalise(w.q, block, d);
    }
    memcpy(pca->axes, w.q, (size_t)n * d * sizeof *pca->axes);
    fix_signs(pca);
    free(memory);
    if (v->progress)
        status = progress_end(v->progress, status);
    if (status)
        pca_finish(pca);
    return status;
}

void pca_project(const struct pca *pca, const float *vector, double *out)
{
    for (uint32_t i = 0; i < pca->n; i++) {
        const double *axis = pca->axes + (size_t)i * pca->d;
        double sum = 0.0;
        for (uint32_t k = 0; k < pca->d; k++)
            sum += axis[k] * ((double)vector[k] - pca->mean[k]);
        out[i] = sum;
    }
}

void pca_finish(struct pca *pca)
{
    free(pca->mean);
    free(pca->axes);
    *pca = (struct pca){0};
}
