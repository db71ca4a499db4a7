// Norms, activations, losses and optimizer updates over float32 numbers, one sweep each: the bodies behind kernels/norm.h, activation.h,
// cross_entropy.h and adamw.h. Compiled once for each instruction set; no libtorch in here. Callers split the work over threads.
#pragma once
#include <cstdint>

namespace graft::kernels::cpu {

inline constexpr int64_t kRowsPerTask = 32;  // of a sweep whose sums go over rows. Fixed, so that they do not depend on the number of threads

enum class Curve { Silu, Gelu, GeluTanh, QuickGelu, Relu, Relu2 };

// One AdamW update (arXiv 1711.05101), its constants worked out for the step.
struct AdamWStep {
  float gradient_factor;  // of clipping
  float kept;             // 1 − learning rate · weight decay
  float first_share;                // 1 − beta1
  float second_kept, second_share;  // beta2, 1 − beta2
  float rate;  // learning rate / (1 − beta1^t)
  float root;  // sqrt(1 − beta2^t)
  float eps;
};

struct ElementwiseKernels {
  // y = x · scale · gain with scale = 1 / sqrt(mean(x²) + eps) for each row; the scales [rows] are written.
  void (*rms_forward)(int64_t rows, int64_t width, const float* x, const float* gain, float eps, float* y, float* scales);
  // dx is written unless null; Σ dy · x · scale over the rows is added to gain_slope [width] unless null.
  void (*rms_backward)(int64_t rows, int64_t width, const float* x, const float* gain, const float* scales, const float* dy, float* dx, float* gain_slope);
  // y = (x − mean) · scale · gain + shift with scale = 1 / sqrt(variance + eps) for each row; gain and shift may be null. Mean and scale of
  // each row are written to moments [rows, 2].
  void (*layer_forward)(int64_t rows, int64_t width, const float* x, const float* gain, const float* shift, float eps, float* y, float* moments);
  // dx is written unless null; the slopes of gain and shift over the rows are added to [width] unless null.
  void (*layer_backward)(int64_t rows, int64_t width, const float* x, const float* gain, const float* moments, const float* dy, float* dx,
                         float* gain_slope, float* shift_slope);
  // The slopes of y = x · factor: dx is written unless null; Σ dy · x over the rows is added to factor_slope [width] unless null.
  void (*scale_backward)(int64_t rows, int64_t width, const float* x, const float* factor, const float* dy, float* dx, float* factor_slope);
  // y = curve(x), or curve(x) · up where up is not null.
  void (*curve)(Curve curve, int64_t count, const float* x, const float* up, float* y);
  // dx = dy · curve'(x), or with up: dx = dy · up · curve'(x) and dup = dy · curve(x).
  void (*curve_slopes)(Curve curve, int64_t count, const float* x, const float* up, const float* dy, float* dx, float* dup);
  // One row of logits z → (1 − smoothing) · −log p[target] + smoothing · mean of −log p. z is overwritten by the slope d / dz where
  // `slope` is set, and else left alone.
  double (*cross_entropy)(int64_t vocab, float* z, int64_t target, double smoothing, bool slope);
  // The gradient is written back where clipping changes it.
  void (*adamw)(int64_t count, float* param, float* gradient, float* first, float* second, const AdamWStep& step);
  double (*squares)(int64_t count, const float* x);  // Σ x²
};

// The best set for this machine.
const ElementwiseKernels& elementwise_kernels();

extern const ElementwiseKernels kElementwisePlain, kElementwiseAvx2, kElementwiseAvx512;

}  // namespace graft::kernels::cpu
