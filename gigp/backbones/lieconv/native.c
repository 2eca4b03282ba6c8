/* The hot loops of LieConv on a CPU: the kernel MLP with its batch norms and the outer sums of the
 * convolution, each with its backward pass, and logarithms of pairs of rigid motions. kernel.py,
 * convolution.py and blocks.py define what they compute; native.py compiles this file on first use.
 *
 * Matrices are row-major and in single precision. Work is cut into pieces that do not depend on the
 * number of threads, and partial sums are added in the order of the pieces, in double precision:
 * results have the same bits for any number of threads. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __AVX512F__
enum { LANES = 16, TILE = 12, CHANNELS = 16, PAIRS = 8 };
#else
enum { LANES = 8, TILE = 6, CHANNELS = 4, PAIRS = 4 };
#endif
enum {
    HIDDEN = 32,         /* width of the two hidden layers of the kernel MLP */
    NUMBERS = 16,        /* kernel numbers for each pair */
    WIDE = NUMBERS / LANES, /* vectors that hold them */
    INPUTS = 16,         /* columns of padded kernel inputs, the last used one filled with ones */
    ROWS = 48,           /* rows of the MLP that are worked on at a time, in the first cache */
    MOMENTS = INPUTS * INPUTS,
    PANEL = 4 * LANES,   /* channels whose gradients are summed at a time */
    GRADIENTS = INPUTS * HIDDEN + HIDDEN * HIDDEN + NUMBERS * HIDDEN,
};

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float anywhere __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
const int64_t vector_bits = 32 * LANES;
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define PARALLEL_FOR _Pragma("omp parallel for num_threads(threads) schedule(dynamic)")

INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE vec load(const float *p) { return *(const anywhere *)p; }
INLINE void store(float *p, vec x) { *(anywhere *)p = x; }
INLINE vec fill(float x) { return x + (vec){0}; }
INLINE vec choose(ivec where, vec a, vec b) {
    return (vec)((where & (ivec)a) | (~where & (ivec)b));
}

/* exp(x) as 2^n exp(r) with |r| <= ln(2) / 2; relative error below 3e-7 */
INLINE vec exponential(vec x) {
    x = choose(x > 87.f, fill(87.f), x);
    x = choose(x < -87.f, fill(-87.f), x);
    vec shifted = x * 1.44269504f + 12582912.f; /* 1.5 * 2^23 rounds to an integer */
    vec n = shifted - 12582912.f;
    vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec p = fill(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.f;
    return (vec)((ivec)p + ((ivec)shifted << 23));
}

INLINE vec sigmoid(vec z) { return 1.f / (1.f + exponential(-z)); }

/* ---- Matrix products that fit into the caches ------------------------------------------------ */

/* out (rows, width vectors) = or += a b over `inner`; a(i, k) is at a[i * down + k * across] */
INLINE void product_tile(const int rows, const int width, int64_t inner, const float *a,
                         const int64_t down, const int64_t across, const float *b, int64_t b_step,
                         float *out, int64_t out_step, const int add) {
    vec sum[TILE][2];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int w = 0; w < width; w++)
            sum[i][w] = add ? load(out + i * out_step + w * LANES) : fill(0.f);
    for (int64_t k = 0; k < inner; k++) {
        vec right[2];
        UNROLL for (int w = 0; w < width; w++) right[w] = load(b + k * b_step + w * LANES);
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int w = 0; w < width; w++)
                sum[i][w] += a[i * down + k * across] * right[w];
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int w = 0; w < width; w++) store(out + i * out_step + w * LANES, sum[i][w]);
}

/* out (rows, columns) = or += a (rows, inner) b (inner, columns); columns are 16 or 32 */
INLINE void product(int64_t rows, int64_t inner, const int columns, const float *a,
                    const int64_t down, const int64_t across, const float *b, float *out,
                    const int add) {
    const int width = columns >= 2 * LANES ? 2 : 1;
    for (int c = 0; c < columns; c += width * LANES) {
        int64_t i = 0;
        for (; i + TILE <= rows; i += TILE)
            product_tile(TILE, width, inner, a + i * down, down, across, b + c, columns,
                         out + i * columns + c, columns, add);
        for (; i + 4 <= rows; i += 4)
            product_tile(4, width, inner, a + i * down, down, across, b + c, columns,
                         out + i * columns + c, columns, add);
        for (; i < rows; i++)
            product_tile(1, width, inner, a + i * down, down, across, b + c, columns,
                         out + i * columns + c, columns, add);
    }
}

/* ---- Kernel MLP: z_l = norm(W_l s_{l-1}), s_l = z_l sigmoid(z_l), l = 1, 2, 3 ----------------- */

/* What is fixed while rows pass through the network. Batch norm is h * scale + shift. */
typedef struct {
    int64_t inputs;
    float center[INPUTS];            /* subtracted from the inputs; no effect but on rounding */
    float first[INPUTS * HIDDEN];    /* W_1' with its norm: scale in the weights, shift of ones */
    float second[HIDDEN * HIDDEN];   /* W_2' */
    float third[HIDDEN * NUMBERS];   /* W_3' */
    float scale[3][HIDDEN], shift[3][HIDDEN];
} Network;

static const int WIDTHS[3] = {HIDDEN, HIDDEN, NUMBERS};

static int64_t piece_rows(int64_t rows) {
    int64_t size = 20 * ROWS;
    while (size * 256 < rows) size *= 2;
    return size;
}

static void transpose(const float *w, int rows, int columns, float *out) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) out[j * rows + i] = w[i * columns + j];
}

/* parameters: weight, gamma, beta of each layer; statistics: mean and variance of each layer */
static void set_norm(Network *net, int layer, const float *const *parameters, const double *eps,
                     const double *mean, const double *var) {
    const float *gamma = parameters[3 * layer + 1], *beta = parameters[3 * layer + 2];
    for (int o = 0; o < WIDTHS[layer]; o++) {
        double scale = gamma[o] / sqrt(var[o] + eps[layer]);
        net->scale[layer][o] = (float)scale;
        net->shift[layer][o] = (float)(beta[o] - mean[o] * scale);
    }
}

static void set_weights(Network *net, int64_t inputs, const float *center,
                        const float *const *parameters) {
    net->inputs = inputs;
    for (int i = 0; i < INPUTS; i++) net->center[i] = i < inputs ? center[i] : 0.f;
    transpose(parameters[3], HIDDEN, HIDDEN, net->second);
    transpose(parameters[6], NUMBERS, HIDDEN, net->third);
}

/* after set_norm of the first layer, whose mean is that of W_1 (x - center) */
static void fold_first(Network *net, const float *weight) {
    memset(net->first, 0, sizeof net->first);
    for (int o = 0; o < HIDDEN; o++) {
        for (int i = 0; i < net->inputs; i++)
            net->first[i * HIDDEN + o] = weight[o * net->inputs + i] * net->scale[0][o];
        net->first[net->inputs * HIDDEN + o] = net->shift[0][o];
    }
}

/* x (rows, inputs) -> (rows, INPUTS): centered, then a one, then zeros */
INLINE void pad(const Network *net, const float *x, int64_t rows, float *out) {
    for (int64_t r = 0; r < rows; r++) {
        for (int i = 0; i < INPUTS; i++) out[r * INPUTS + i] = 0.f;
        for (int i = 0; i < net->inputs; i++)
            out[r * INPUTS + i] = x[r * net->inputs + i] - net->center[i];
        out[r * INPUTS + net->inputs] = 1.f;
    }
}

INLINE void first_layer(const Network *net, const float *padded, int64_t rows, float *z) {
    product(rows, net->inputs + 1, HIDDEN, padded, INPUTS, 1, net->first, z, 0);
}

/* swish(h * scale + shift), (rows, width); its derivative to `slope` where that is given */
INLINE void swish_rows(const float *h, const float *scale, const float *shift, int64_t rows,
                       const int width, float *out, float *slope) {
    for (int64_t r = 0; r < rows; r++)
        for (int w = 0; w < width; w += LANES) {
            vec z = load(h + r * width + w);
            if (scale) z = z * load(scale + w) + load(shift + w);
            vec s = sigmoid(z), y = z * s;
            store(out + r * width + w, y);
            if (slope) store(slope + r * width + w, s + y * (1.f - s));
        }
}

/* add the sum and the sum of squares of each column, the latter from deviations from the mean */
INLINE void add_statistics(const float *h, int64_t rows, const int width, double *sums) {
    for (int w = 0; w < width; w += LANES) {
        vec sum = fill(0.f), squares = fill(0.f);
        for (int64_t r = 0; r < rows; r++) sum += load(h + r * width + w);
        vec mean = sum / (float)rows;
        for (int64_t r = 0; r < rows; r++) {
            vec deviation = load(h + r * width + w) - mean;
            squares += deviation * deviation;
        }
        for (int l = 0; l < LANES; l++) {
            sums[w + l] += sum[l];
            sums[width + w + l] += squares[l] + (double)sum[l] * sum[l] / rows;
        }
    }
}

/* add the sums of g and of g * (h - mean) * inverse over the rows */
INLINE void add_gradients(const float *g, const float *h, const float *mean, const float *inverse,
                          int64_t rows, const int width, double *sums) {
    for (int w = 0; w < width; w += LANES) {
        vec sum = fill(0.f), products = fill(0.f);
        for (int64_t r = 0; r < rows; r++) {
            vec x = load(g + r * width + w);
            sum += x;
            products += x * (load(h + r * width + w) - load(mean + w));
        }
        products *= load(inverse + w);
        for (int l = 0; l < LANES; l++) {
            sums[w + l] += sum[l];
            sums[width + w + l] += products[l];
        }
    }
}

static void add_pieces(const double *pieces, int64_t num, int64_t size, double *total) {
    memset(total, 0, size * sizeof *total);
    for (int64_t p = 0; p < num; p++)
        for (int64_t i = 0; i < size; i++) total[i] += pieces[p * size + i];
}

static void mean_and_variance(const double *sums, int width, int64_t rows, double *mean,
                              double *var) {
    for (int o = 0; o < width; o++) {
        mean[o] = sums[o] / rows;
        var[o] = fmax(sums[width + o] / rows - mean[o] * mean[o], 0);
    }
}

/* Mean and covariance of the centered inputs give mean and variance of the first layer:
 * moments (INPUTS, INPUTS) are means of products, those with the column of ones are means. */
static void first_statistics(const double *moments, int64_t inputs, const float *weight, double *mean,
                             double *var) {
    const double *means = moments + inputs * INPUTS;
    for (int o = 0; o < HIDDEN; o++) {
        const float *w = weight + o * inputs;
        mean[o] = var[o] = 0;
        for (int i = 0; i < inputs; i++) {
            mean[o] += w[i] * means[i];
            for (int j = 0; j < inputs; j++)
                var[o] += w[i] * (double)w[j] * (moments[i * INPUTS + j] - means[i] * means[j]);
        }
        var[o] = fmax(var[o], 0);
    }
}

/* Training, forward: h2 (rows, 32) and h3 (rows, 16) are what the second and third linear layer
 * return, kept for the backward pass. statistics: mean and variance of each layer, without biases
 * and, of the first, of centered inputs; then the moments of the inputs. Returns 0, or 1 without
 * memory. */
int kernel_mlp_forward(const float *x, int64_t rows, int64_t inputs, const float *center,
                       const float *const *parameters, const double *eps, double *statistics,
                       float *h2, float *h3, float *out, int64_t threads) {
    int64_t size = piece_rows(rows), pieces = (rows + size - 1) / size;
    double *partial = calloc(pieces, MOMENTS * sizeof *partial);
    if (!partial) return 1;
    double *mean[3] = {statistics, statistics + 64, statistics + 128};
    double *var[3] = {statistics + 32, statistics + 96, statistics + 144};
    double *moments = statistics + 160, sums[2 * HIDDEN];
    Network net;
    set_weights(&net, inputs, center, parameters);

    PARALLEL_FOR for (int64_t p = 0; p < pieces; p++) {
        float padded[ROWS * INPUTS], own[MOMENTS] = {0};
        int64_t end = smaller((p + 1) * size, rows);
        for (int64_t r = p * size; r < end; r += ROWS) {
            int64_t n = smaller(ROWS, end - r);
            pad(&net, x + r * inputs, n, padded);
            product(inputs + 1, n, INPUTS, padded, 1, INPUTS, padded, own, 1);
        }
        for (int i = 0; i < MOMENTS; i++) partial[p * MOMENTS + i] = own[i];
    }
    add_pieces(partial, pieces, MOMENTS, moments);
    for (int i = 0; i < MOMENTS; i++) moments[i] /= rows;
    first_statistics(moments, inputs, parameters[0], mean[0], var[0]);
    set_norm(&net, 0, parameters, eps, mean[0], var[0]);
    fold_first(&net, parameters[0]);

    memset(partial, 0, pieces * MOMENTS * sizeof *partial);
    PARALLEL_FOR for (int64_t p = 0; p < pieces; p++) {
        float padded[ROWS * INPUTS], s[ROWS * HIDDEN];
        int64_t end = smaller((p + 1) * size, rows);
        for (int64_t r = p * size; r < end; r += ROWS) {
            int64_t n = smaller(ROWS, end - r);
            float *h = h2 + r * HIDDEN;
            pad(&net, x + r * inputs, n, padded);
            first_layer(&net, padded, n, s);
            swish_rows(s, NULL, NULL, n, HIDDEN, s, NULL);
            product(n, HIDDEN, HIDDEN, s, HIDDEN, 1, net.second, h, 0);
            add_statistics(h, n, HIDDEN, partial + p * 2 * HIDDEN);
        }
    }
    add_pieces(partial, pieces, 2 * HIDDEN, sums);
    mean_and_variance(sums, HIDDEN, rows, mean[1], var[1]);
    set_norm(&net, 1, parameters, eps, mean[1], var[1]);

    memset(partial, 0, pieces * MOMENTS * sizeof *partial);
    PARALLEL_FOR for (int64_t p = 0; p < pieces; p++) {
        float s[ROWS * HIDDEN];
        int64_t end = smaller((p + 1) * size, rows);
        for (int64_t r = p * size; r < end; r += ROWS) {
            int64_t n = smaller(ROWS, end - r);
            float *h = h3 + r * NUMBERS;
            swish_rows(h2 + r * HIDDEN, net.scale[1], net.shift[1], n, HIDDEN, s, NULL);
            product(n, HIDDEN, NUMBERS, s, HIDDEN, 1, net.third, h, 0);
            add_statistics(h, n, NUMBERS, partial + p * 2 * NUMBERS);
        }
    }
    add_pieces(partial, pieces, 2 * NUMBERS, sums);
    mean_and_variance(sums, NUMBERS, rows, mean[2], var[2]);
    set_norm(&net, 2, parameters, eps, mean[2], var[2]);
    free(partial);

    PARALLEL_FOR for (int64_t p = 0; p < pieces; p++) {
        int64_t start = p * size, n = smaller(size, rows - start);
        swish_rows(h3 + start * NUMBERS, net.scale[2], net.shift[2], n, NUMBERS,
                   out + start * NUMBERS, NULL);
    }
    return 0;
}

/* Evaluation with given statistics: all layers while the rows are in the cache. */
int kernel_mlp_evaluate(const float *x, int64_t rows, int64_t inputs, const float *center,
                         const float *const *parameters, const double *eps,
                         const double *statistics, float *out, int64_t threads) {
    Network net;
    set_weights(&net, inputs, center, parameters);
    set_norm(&net, 0, parameters, eps, statistics, statistics + 32);
    set_norm(&net, 1, parameters, eps, statistics + 64, statistics + 96);
    set_norm(&net, 2, parameters, eps, statistics + 128, statistics + 144);
    fold_first(&net, parameters[0]);
    PARALLEL_FOR for (int64_t block = 0; block < (rows + ROWS - 1) / ROWS; block++) {
        float padded[ROWS * INPUTS], s[ROWS * HIDDEN], h[ROWS * HIDDEN];
        int64_t r = block * ROWS, n = smaller(ROWS, rows - r);
        pad(&net, x + r * inputs, n, padded);
        first_layer(&net, padded, n, s);
        swish_rows(s, NULL, NULL, n, HIDDEN, s, NULL);
        product(n, HIDDEN, HIDDEN, s, HIDDEN, 1, net.second, h, 0);
        swish_rows(h, net.scale[1], net.shift[1], n, HIDDEN, s, NULL);
        product(n, HIDDEN, NUMBERS, s, HIDDEN, 1, net.third, h, 0);
        swish_rows(h, net.scale[2], net.shift[2], n, NUMBERS, out + r * NUMBERS, NULL);
    }
    return 0;
}

/* The gradient before a norm is g * scale + h * slope + offset, with the gradient g after it. */
typedef struct {
    float mean[HIDDEN], inverse[HIDDEN], slope[HIDDEN], offset[HIDDEN];
} NormBackward;

static void set_inverse(NormBackward *norm, int layer, const double *eps, const double *mean,
                        const double *var) {
    for (int o = 0; o < WIDTHS[layer]; o++) {
        norm->mean[o] = (float)mean[o];
        norm->inverse[o] = (float)(1 / sqrt(var[o] + eps[layer]));
    }
}

/* sums: gradients of beta and gamma */
static void set_slopes(NormBackward *norm, int width, const double *sums, const float *scale,
                       int64_t rows) {
    for (int o = 0; o < width; o++) {
        double slope = -scale[o] * (double)norm->inverse[o] * sums[width + o] / rows;
        norm->slope[o] = (float)slope;
        norm->offset[o] = (float)(-scale[o] * sums[o] / rows - slope * norm->mean[o]);
    }
}

INLINE void norm_backward(const NormBackward *norm, const float *scale, const float *g,
                          const float *h, int64_t rows, const int width, float *out) {
    for (int64_t r = 0; r < rows; r++)
        for (int w = 0; w < width; w += LANES)
            store(out + r * width + w,
                  load(g + r * width + w) * load(scale + w) +
                      (load(h + r * width + w) * load(norm->slope + w) + load(norm->offset + w)));
}

INLINE void multiply(float *g, const float *slope, int64_t num) {
    for (int64_t i = 0; i < num; i += LANES) store(g + i, load(g + i) * load(slope + i));
}

static void copy_norm_gradients(const double *sums, int width, float *dgamma, float *dbeta) {
    for (int o = 0; o < width; o++) {
        dbeta[o] = (float)sums[o];
        dgamma[o] = (float)sums[width + o];
    }
}

/* Training, backward: gradients of the parameters, of grad (rows, 16). dz2 (rows, 32) is room for
 * the gradient after the second norm. Returns 0, or 1 without memory. */
int kernel_mlp_backward(const float *x, int64_t rows, int64_t inputs, const float *center,
                        const float *const *parameters, const double *eps,
                        const double *statistics, const float *h2, const float *h3,
                        const float *grad, float *dz2, float *const *gradients, int64_t threads) {
    enum { SUMS = GRADIENTS + 2 * HIDDEN };
    int64_t size = piece_rows(rows), pieces = (rows + size - 1) / size;
    double *partial = calloc(pieces, SUMS * sizeof *partial), *total = calloc(SUMS, sizeof *total);
    if (!partial || !total) {
        free(partial);
        free(total);
        return 1;
    }
    const double *mean[3] = {statistics, statistics + 64, statistics + 128};
    const double *var[3] = {statistics + 32, statistics + 96, statistics + 144};
    const double *moments = statistics + 160;
    Network net;
    NormBackward norm[3];
    set_weights(&net, inputs, center, parameters);
    for (int l = 0; l < 3; l++) {
        set_norm(&net, l, parameters, eps, mean[l], var[l]);
        set_inverse(&norm[l], l, eps, mean[l], var[l]);
    }
    fold_first(&net, parameters[0]);

    PARALLEL_FOR for (int64_t p = 0; p < pieces; p++) {
        float s[ROWS * NUMBERS], slope[ROWS * NUMBERS];
        int64_t end = smaller((p + 1) * size, rows);
        for (int64_t r = p * size; r < end; r += ROWS) {
            int64_t n = smaller(ROWS, end - r);
            const float *h = h3 + r * NUMBERS;
            swish_rows(h, net.scale[2], net.shift[2], n, NUMBERS, s, slope);
            multiply(slope, grad + r * NUMBERS, n * NUMBERS);
            add_gradients(slope, h, norm[2].mean, norm[2].inverse, n, NUMBERS,
                          partial + p * 2 * NUMBERS);
        }
    }
    add_pieces(partial, pieces, 2 * NUMBERS, total);
    copy_norm_gradients(total, NUMBERS, gradients[7], gradients[8]);
    set_slopes(&norm[2], NUMBERS, total, net.scale[2], rows);

    enum { THIRD = NUMBERS * HIDDEN, THIRD_SUMS = THIRD + 2 * HIDDEN };
    memset(partial, 0, pieces * SUMS * sizeof *partial);
    PARALLEL_FOR for (int64_t p = 0; p < pieces; p++) {
        float s[ROWS * HIDDEN], slope[ROWS * HIDDEN], g[ROWS * NUMBERS], own[THIRD] = {0};
        double *sums = partial + p * THIRD_SUMS;
        int64_t end = smaller((p + 1) * size, rows);
        for (int64_t r = p * size; r < end; r += ROWS) {
            int64_t n = smaller(ROWS, end - r);
            const float *h = h3 + r * NUMBERS;
            float *dz = dz2 + r * HIDDEN;
            swish_rows(h, net.scale[2], net.shift[2], n, NUMBERS, s, slope);
            multiply(slope, grad + r * NUMBERS, n * NUMBERS);
            norm_backward(&norm[2], net.scale[2], slope, h, n, NUMBERS, g);
            h = h2 + r * HIDDEN;
            swish_rows(h, net.scale[1], net.shift[1], n, HIDDEN, s, slope);
            product(NUMBERS, n, HIDDEN, g, 1, NUMBERS, s, own, 1);
            product(n, NUMBERS, HIDDEN, g, NUMBERS, 1, parameters[6], dz, 0);
            multiply(dz, slope, n * HIDDEN);
            add_gradients(dz, h, norm[1].mean, norm[1].inverse, n, HIDDEN, sums + THIRD);
        }
        for (int i = 0; i < THIRD; i++) sums[i] = own[i];
    }
    add_pieces(partial, pieces, THIRD_SUMS, total);
    for (int i = 0; i < THIRD; i++) gradients[6][i] = (float)total[i];
    copy_norm_gradients(total + THIRD, HIDDEN, gradients[4], gradients[5]);
    set_slopes(&norm[1], HIDDEN, total + THIRD, net.scale[1], rows);

    enum { SECOND = HIDDEN * HIDDEN, FIRST = INPUTS * HIDDEN };
    PARALLEL_FOR for (int64_t p = 0; p < pieces; p++) {
        float padded[ROWS * INPUTS], s[ROWS * HIDDEN], slope[ROWS * HIDDEN], g[ROWS * HIDDEN];
        float own[SECOND + FIRST] = {0};
        int64_t end = smaller((p + 1) * size, rows);
        for (int64_t r = p * size; r < end; r += ROWS) {
            int64_t n = smaller(ROWS, end - r);
            pad(&net, x + r * inputs, n, padded);
            first_layer(&net, padded, n, s);
            swish_rows(s, NULL, NULL, n, HIDDEN, s, slope);
            norm_backward(&norm[1], net.scale[1], dz2 + r * HIDDEN, h2 + r * HIDDEN, n, HIDDEN, g);
            product(HIDDEN, n, HIDDEN, g, 1, HIDDEN, s, own, 1);
            product(n, HIDDEN, HIDDEN, g, HIDDEN, 1, parameters[3], s, 0);
            multiply(s, slope, n * HIDDEN);
            product(inputs + 1, n, HIDDEN, padded, 1, INPUTS, s, own + SECOND, 1);
        }
        for (int i = 0; i < SECOND + FIRST; i++) partial[p * (SECOND + FIRST) + i] = own[i];
    }
    add_pieces(partial, pieces, SECOND + FIRST, total);
    for (int i = 0; i < SECOND; i++) gradients[3][i] = (float)total[i];

    /* The first layer is linear in the inputs: its sums over rows follow from their moments and
     * from products (INPUTS, 32) of the inputs with the gradient after its norm. */
    const double *products = total + SECOND, *means = moments + inputs * INPUTS;
    for (int o = 0; o < HIDDEN; o++) {
        const float *w = parameters[0] + o * inputs;
        double inverse = 1 / sqrt(var[0][o] + eps[0]), dbeta = products[inputs * HIDDEN + o];
        double dgamma = -mean[0][o] * dbeta;
        for (int i = 0; i < inputs; i++) dgamma += w[i] * products[i * HIDDEN + o];
        dgamma *= inverse;
        gradients[1][o] = (float)dgamma;
        gradients[2][o] = (float)dbeta;
        for (int i = 0; i < inputs; i++) {
            double normed = 0; /* mean of the normed output times input i */
            for (int j = 0; j < inputs; j++)
                normed += inverse * w[j] * (moments[j * INPUTS + i] - means[j] * means[i]);
            double sum = products[i * HIDDEN + o] - dbeta * means[i] - dgamma * normed;
            gradients[0][o * inputs + i] = (float)(parameters[1][o] * inverse * sum);
        }
    }
    free(partial);
    free(total);
    return 0;
}

/* ---- Convolution: sums over neighbors of feature x kernel numbers ----------------------------- */

/* Pairs by query: those of query q are at first[q] to first[q + 1]; each has the row of its
 * neighbor and of its kernel numbers. feat is (points, maps, channels), kernel (pairs, 16), sums
 * (queries, maps, channels, 16). */
typedef struct {
    const int32_t *first, *point, *pair;
} Pairs;

INLINE void sum_tile(const int num, const Pairs *pairs, int64_t begin, int64_t end,
                     const float *feat, int64_t stride, const float *kernel, float *out) {
    vec sum[CHANNELS][WIDE];
    UNROLL for (int c = 0; c < num; c++)
        UNROLL for (int w = 0; w < WIDE; w++) sum[c][w] = fill(0.f);
    for (int64_t e = begin; e < end; e++) {
        const float *f = feat + pairs->point[e] * stride, *k = kernel + pairs->pair[e] * NUMBERS;
        vec numbers[WIDE];
        UNROLL for (int w = 0; w < WIDE; w++) numbers[w] = load(k + w * LANES);
        UNROLL for (int c = 0; c < num; c++)
            UNROLL for (int w = 0; w < WIDE; w++) sum[c][w] += f[c] * numbers[w];
    }
    UNROLL for (int c = 0; c < num; c++)
        UNROLL for (int w = 0; w < WIDE; w++) store(out + c * NUMBERS + w * LANES, sum[c][w]);
}

/* sums of queries [begin, end); width = maps * channels */
int outer_sums(const float *kernel, const float *feat, int64_t width, const int32_t *first,
                const int32_t *point, const int32_t *pair, int64_t begin, int64_t end, float *out,
                int64_t threads) {
    Pairs pairs = {first, point, pair};
    PARALLEL_FOR for (int64_t q = begin; q < end; q++) {
        float *sums = out + (q - begin) * width * NUMBERS;
        int64_t c = 0;
        for (; c + CHANNELS <= width; c += CHANNELS)
            sum_tile(CHANNELS, &pairs, first[q], first[q + 1], feat + c, width, kernel,
                     sums + c * NUMBERS);
        for (; c < width; c++)
            sum_tile(1, &pairs, first[q], first[q + 1], feat + c, width, kernel,
                     sums + c * NUMBERS);
    }
    return 0;
}

/* kernel gradients of `num` pairs of one query: feature times gradient of the sums */
INLINE void kernel_tile(const int num, const Pairs *pairs, int64_t e, const float *feat,
                        int64_t width, const float *dsums, float *dkernel) {
    vec sum[PAIRS][WIDE];
    const float *f[PAIRS];
    UNROLL for (int i = 0; i < num; i++) {
        f[i] = feat + pairs->point[e + i] * width;
        UNROLL for (int w = 0; w < WIDE; w++) sum[i][w] = fill(0.f);
    }
    for (int64_t c = 0; c < width; c++) {
        vec d[WIDE];
        UNROLL for (int w = 0; w < WIDE; w++) d[w] = load(dsums + c * NUMBERS + w * LANES);
        UNROLL for (int i = 0; i < num; i++)
            UNROLL for (int w = 0; w < WIDE; w++) sum[i][w] += f[i][c] * d[w];
    }
    UNROLL for (int i = 0; i < num; i++)
        UNROLL for (int w = 0; w < WIDE; w++)
            store(dkernel + pairs->pair[e + i] * NUMBERS + w * LANES, sum[i][w]);
}

/* exchange rows and columns of LANES vectors: at each step, blocks of `half` columns */
INLINE void transpose_vectors(vec *x) {
#ifdef __clang__
    vec copy[LANES];
    memcpy(copy, x, sizeof copy);
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++) x[i][j] = copy[j][i];
#else
    UNROLL for (int half = LANES / 2; half > 0; half /= 2) {
        ivec low, high;
        for (int l = 0; l < LANES; l++) {
            low[l] = l & half ? l - half + LANES : l;
            high[l] = l & half ? l + LANES : l + half;
        }
        UNROLL for (int i = 0; i < LANES; i++)
            if (!(i & half)) {
                vec a = x[i], b = x[i + half];
                x[i] = __builtin_shuffle(a, b, low);
                x[i + half] = __builtin_shuffle(a, b, high);
            }
    }
#endif
}

/* (channels, 16) -> (16, PANEL), zeros behind the channels */
INLINE void turn(const float *dsums, int64_t channels, float *out) {
    for (int64_t c = 0; c < channels; c += LANES)
        for (int k = 0; k < NUMBERS; k += LANES) {
            vec x[LANES];
            UNROLL for (int i = 0; i < LANES; i++)
                x[i] = c + i < channels ? load(dsums + (c + i) * NUMBERS + k) : fill(0.f);
            transpose_vectors(x);
            UNROLL for (int i = 0; i < LANES; i++) store(out + (k + i) * PANEL + c, x[i]);
        }
}

/* feature gradients of two neighbors, added to rows of `width` vectors */
INLINE void feature_tile(const int width, const float *k0, const float *k1, const float *turned,
                         float *out0, float *out1) {
    vec sum[2][4];
    UNROLL for (int w = 0; w < width; w++) sum[0][w] = sum[1][w] = fill(0.f);
    for (int k = 0; k < NUMBERS; k++)
        UNROLL for (int w = 0; w < width; w++) {
            vec d = load(turned + k * PANEL + w * LANES);
            sum[0][w] += k0[k] * d;
            sum[1][w] += k1[k] * d;
        }
    UNROLL for (int w = 0; w < width; w++) store(out0 + w * LANES, load(out0 + w * LANES) + sum[0][w]);
    if (out1)
        UNROLL for (int w = 0; w < width; w++)
            store(out1 + w * LANES, load(out1 + w * LANES) + sum[1][w]);
}

INLINE void feature_rows(const int width, const Pairs *pairs, int64_t e, int64_t end,
                         const float *kernel, const float *turned, int64_t row, float *out) {
    for (; e < end; e += 2) {
        int64_t last = e + 1 < end ? e + 1 : e;
        feature_tile(width, kernel + pairs->pair[e] * NUMBERS, kernel + pairs->pair[last] * NUMBERS,
                     turned, out + (pairs->point[e] - row) * PANEL,
                     last > e ? out + (pairs->point[last] - row) * PANEL : NULL);
    }
}

/* Gradients of dsums (end - begin, maps, channels, 16), which belong to queries [begin, end). Those
 * of kernel are set, those of feat added. Cloud i has the points rows[i] to rows[i + 1] and the
 * queries queries[i] to queries[i + 1]. Returns 0, or 1 without memory. */
int outer_sums_backward(const float *kernel, const float *feat, int64_t maps, int64_t channels,
                        const int32_t *first, const int32_t *point, const int32_t *pair,
                        int64_t clouds, const int32_t *rows, const int32_t *queries, int64_t begin,
                        int64_t end, const float *dsums, float *dkernel, float *dfeat,
                        int64_t threads) {
    Pairs pairs = {first, point, pair};
    int64_t width = maps * channels, panels = (channels + PANEL - 1) / PANEL;
    PARALLEL_FOR for (int64_t q = begin; q < end; q++) {
        const float *d = dsums + (q - begin) * width * NUMBERS;
        int64_t e = first[q];
        for (; e + PAIRS <= first[q + 1]; e += PAIRS)
            kernel_tile(PAIRS, &pairs, e, feat, width, d, dkernel);
        for (; e < first[q + 1]; e++) kernel_tile(1, &pairs, e, feat, width, d, dkernel);
    }
    int64_t cloud = 0, stop = clouds;
    while (cloud < clouds && queries[cloud + 1] <= begin) cloud++;
    while (stop > cloud && queries[stop - 1] >= end) stop--;
    int failed = 0;
    PARALLEL_FOR for (int64_t unit = cloud * maps * panels; unit < stop * maps * panels; unit++) {
        int64_t i = unit / (maps * panels), map = unit / panels % maps, c = unit % panels * PANEL;
        int64_t num = smaller(PANEL, channels - c), points = rows[i + 1] - rows[i];
        int64_t from = queries[i] > begin ? queries[i] : begin, to = smaller(queries[i + 1], end);
        float turned[NUMBERS * PANEL], *own = calloc(points * PANEL, sizeof *own);
        if (!own) {
            failed = 1;
            continue;
        }
        for (int64_t q = from; q < to; q++) {
            turn(dsums + (((q - begin) * maps + map) * channels + c) * NUMBERS, num, turned);
            int64_t e = first[q], last = first[q + 1];
            if (num > 3 * LANES) feature_rows(4, &pairs, e, last, kernel, turned, rows[i], own);
            else if (num > 2 * LANES) feature_rows(3, &pairs, e, last, kernel, turned, rows[i], own);
            else if (num > LANES) feature_rows(2, &pairs, e, last, kernel, turned, rows[i], own);
            else feature_rows(1, &pairs, e, last, kernel, turned, rows[i], own);
        }
        for (int64_t r = 0; r < points; r++) {
            float *out = dfeat + ((rows[i] + r) * maps + map) * channels + c;
            for (int64_t k = 0; k < num; k++) out[k] += own[r * PANEL + k];
        }
        free(own);
    }
    return failed;
}

/* Pairs of tables in which every point of a cloud is a neighbor of every query: the pair of point j
 * and query i is the (j * queries + i)-th of the cloud. */
int list_all_pairs(int64_t clouds, const int32_t *rows, const int32_t *queries, int32_t *first,
                   int32_t *point, int32_t *pair, int64_t threads) {
    (void)threads;
    int32_t start = 0, e = 0;
    for (int64_t cloud = 0; cloud < clouds; cloud++) {
        int32_t n = rows[cloud + 1] - rows[cloud], m = queries[cloud + 1] - queries[cloud];
        for (int32_t i = 0; i < m; i++) {
            first[queries[cloud] + i] = e;
            for (int32_t j = 0; j < n; j++, e++) {
                point[e] = rows[cloud] + j;
                pair[e] = start + j * m + i;
            }
        }
        start += n * m;
    }
    first[queries[clouds]] = e;
    return 0;
}

/* Pairs that take places `slots` in a table (queries, neighbors) of rows. */
int list_chosen_pairs(int64_t queries, int64_t neighbors, const int64_t *index, int64_t pairs,
                      const int64_t *slots, int32_t *first, int32_t *point, int32_t *pair,
                      int64_t threads) {
    (void)threads;
    memset(first, 0, (queries + 1) * sizeof *first);
    for (int64_t e = 0; e < pairs; e++) first[slots[e] / neighbors + 1]++;
    for (int64_t q = 0; q < queries; q++) first[q + 1] += first[q];
    int32_t *next = malloc(queries * sizeof *next);
    if (!next) return 1;
    memcpy(next, first, queries * sizeof *next);
    for (int64_t e = 0; e < pairs; e++) {
        int32_t at = next[slots[e] / neighbors]++;
        point[at] = (int32_t)index[slots[e]];
        pair[at] = (int32_t)e;
    }
    free(next);
    return 0;
}

/* ---- Pairs of rigid motions ------------------------------------------------------------------- */

typedef struct {
    vec x, y, z;
} Vector;

INLINE vec root(vec x) {
    UNROLL for (int i = 0; i < LANES; i++) x[i] = sqrtf(x[i]);
    return x;
}

/* angle of a point (x, y), x, y >= 0; a polynomial up to tan(pi / 8), turned by pi / 4 beyond */
INLINE vec angle(vec x, vec y) {
    vec t = choose(y > x, x, y) / choose(y > x, y, x);
    ivec beyond = t > 0.414213562f;
    t = choose(beyond, (t - 1.f) / (t + 1.f), t);
    vec t2 = t * t, p = fill(8.05374449538e-2f);
    p = p * t2 - 1.38776856032e-1f;
    p = p * t2 + 1.99777106478e-1f;
    p = p * t2 - 3.33329491539e-1f;
    p = p * t2 * t + t + choose(beyond, fill(0.785398163f), fill(0.f));
    return choose(y > x, 1.57079633f - p, p);
}

INLINE Vector cross(Vector a, Vector b) {
    return (Vector){a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

INLINE vec length_squared(Vector a) { return a.x * a.x + a.y * a.y + a.z * a.z; }

/* log(v^-1 u) = [rotation, translation] of LANES motions u and one motion v, each a unit quaternion
 * and a shift */
INLINE void relative_log(const vec *u, const float *v, Vector *rotation, Vector *translation) {
    const float e = v[0], f = v[1], g = v[2], h = v[3];
    vec w = e * u[0] + f * u[1] + g * u[2] + h * u[3];
    Vector q = {e * u[1] - f * u[0] - g * u[3] + h * u[2],
                e * u[2] - g * u[0] - h * u[1] + f * u[3],
                e * u[3] - h * u[0] - f * u[2] + g * u[1]};
    vec sine = length_squared(q), cosine = choose(w < 0.f, -w, w);
    sine = root(choose(sine < 1e-14f, fill(1e-14f), sine));
    vec half = angle(cosine, sine), factor = 2.f * half / sine, square_angle = 4.f * half * half;
    factor = choose(w < 0.f, -factor, factor);
    *rotation = (Vector){factor * q.x, factor * q.y, factor * q.z};

    /* the shift in the frame of v, t - 2 e (a x t) + 2 a x (a x t) with the axis part a of v */
    Vector t = {u[4] - v[4], u[5] - v[5], u[6] - v[6]}, a = {fill(f), fill(g), fill(h)};
    Vector once = cross(a, t), twice = cross(a, once);
    t.x += 2.f * (twice.x - e * once.x);
    t.y += 2.f * (twice.y - e * once.y);
    t.z += 2.f * (twice.z - e * once.z);
    /* V^-1 t = t - r x t / 2 + c r x (r x t) with c = (1 - half cot(half)) / (2 half)^2 */
    vec c = square_angle * (1.f / 1209600) + 1.f / 30240;
    c = (c * square_angle + 1.f / 720) * square_angle + 1.f / 12;
    c = choose(square_angle < 0.25f, c, (1.f - half * cosine / sine) / square_angle);
    once = cross(*rotation, t), twice = cross(*rotation, once);
    *translation = (Vector){t.x - 0.5f * once.x + c * twice.x, t.y - 0.5f * once.y + c * twice.y,
                            t.z - 0.5f * once.z + c * twice.z};
}

/* Of all pairs (v, u) of n motions of each cloud, given as (7, clouds, n): log(v^-1 u), (clouds, n,
 * n, 6), and alpha |rotation| + (1 - alpha) |translation|, (clouds, n, n). */
int motion_pairs(const float *motions, int64_t clouds, int64_t n, const float *alpha, float *logs,
                 float *distance, int64_t threads) {
    PARALLEL_FOR for (int64_t row = 0; row < clouds * n; row++) {
        const float *first = motions + row / n * n;
        float v[7];
        for (int i = 0; i < 7; i++) v[i] = motions[i * clouds * n + row];
        for (int64_t j = 0; j < n; j += LANES) {
            int64_t num = smaller(LANES, n - j), at = row * n + j;
            vec u[7];
            for (int i = 0; i < 7; i++) {
                float lanes[LANES] = {0};
                memcpy(lanes, first + i * clouds * n + j, num * sizeof *lanes);
                u[i] = load(lanes);
            }
            Vector rotation, translation;
            relative_log(u, v, &rotation, &translation);
            vec d = *alpha * root(length_squared(rotation));
            d += (1.f - *alpha) * root(length_squared(translation));
            for (int64_t l = 0; l < num; l++) {
                float *a = logs + (at + l) * 6;
                a[0] = rotation.x[l], a[1] = rotation.y[l], a[2] = rotation.z[l];
                a[3] = translation.x[l], a[4] = translation.y[l], a[5] = translation.z[l];
                distance[at + l] = d[l];
            }
        }
    }
    return 0;
}
