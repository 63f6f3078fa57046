/* Principal components of latent trajectories: the few directions in which a set of vectors varies most.
 *
 * Subspace iteration on the covariance, which is never formed (d may be some thousands), with a Rayleigh-Ritz step on
 * the small matrix inside it. The start is drawn from a fixed seed and everything runs in double in one order, so that
 * the same vectors give the same axes. Of an axis and its negative, the one is taken whose largest entry (the first of
 * equals) is positive.
 *
 * Owns: mean and axes. Never: touches the device. Thread-safety: none.
 */
#ifndef MUNINN_ANALYSIS_PCA_H
#define MUNINN_ANALYSIS_PCA_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/progress.h"

enum { PCA_ITERATIONS_MAX = 1000 };

/* Vectors in groups: `n_groups` times `per_group` vectors of `d` floats, the first vector of group g at values + g *
 * stride. */
struct pca_vectors {
    const float *values;
    size_t n_groups, per_group, stride; /* stride in floats */
    uint32_t d;
    uint32_t most_iterations;  /* 0: PCA_ITERATIONS_MAX */
    struct progress *progress; /* asked in front of every group; may be NULL */
};

struct pca {
    uint32_t n, d;                      /* components: at most d */
    double *mean;                       /* [d], owned */
    double *axes;                       /* [n, d] orthonormal, by falling variance, owned */
    double variance[MN_MAX_COMPONENTS]; /* along each axis */
    double total;                       /* variance of the vectors, all directions */
    double residual; /* largest |C a - v a| over the axes, divided by the largest variance: 0 is exact */
    uint32_t n_iterations;
};

/* n_components from 1 to MN_MAX_COMPONENTS; at least one vector. MN_ERR_MEMORY, MN_ERR_INTERRUPTED. */
enum mn_status pca_fit(struct pca *pca, const struct pca_vectors *vectors, uint32_t n_components,
                       const struct mn_log *log);
/* Coordinates [pca->n] of a vector [d]. */
void pca_project(const struct pca *pca, const float *vector, double *out);
void pca_finish(struct pca *pca); /* zeroed is fine */

#endif
