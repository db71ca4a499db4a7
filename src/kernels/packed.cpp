#include "kernels/packed.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "core/torch.h"
#include "kernels/cpu.h"
#include "kernels/cpu/packed_kernel.h"
#include "kernels/twins.h"

namespace graft::kernels {
namespace {

constexpr int64_t kLeastRows = 64, kLeastSide = 32, kLeastWeight = int64_t{1} << 12;  // below which laying factors out is not worth it
constexpr int64_t kFewColumns = 2 * cpu::kPackedColumns;                              // for which rows are read as they lie
constexpr int64_t kRowsLaidOut = int64_t{2} << 20;  // bytes of rows at a time: every thread reads all of them for each of its columns
constexpr int64_t kDepthLaidOut = 2048;             // of those rows, which are then enough to be worth a weight laid out
constexpr int64_t kRowsKept = int64_t{16} << 20;    // bytes of rows laid out for several products
constexpr int64_t kTasksPerThread = 4;
constexpr int64_t kAligned = 64 / sizeof(float);

// `count` numbers from a multiple of 64 bytes on; they live as long as `memory`.
float* aligned_floats(Tensor& memory, int64_t count, const at::TensorOptions& options) {
  if (!memory.defined()) memory = at::empty({count + kAligned}, options);
  float* const begin = memory.mutable_data_ptr<float>();
  return begin + (kAligned - reinterpret_cast<uintptr_t>(begin) / sizeof(float) % kAligned) % kAligned;
}

// On all threads, which take a piece after the other: one that the system holds up holds up no other. `task` is told its thread and piece.
template <class Task>
void run_tasks(int64_t threads, int64_t total, int64_t piece, const Task& task) {
  if (threads == 1) return task(0, 0, total);
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t thread, int64_t) {
    for (int64_t begin; (begin = next.fetch_add(piece, std::memory_order_relaxed)) < total;) task(thread, begin, std::min(total, begin + piece));
  });
}

// The size of about equal pieces of at most `most`, in whole units.
int64_t equal_piece(int64_t total, int64_t most, int64_t unit) { return at::divup(at::divup(total, at::divup(total, most)), unit) * unit; }

// Columns of a task, such that equally fast threads end together.
int64_t task_width(int64_t columns, int64_t threads) {
  const int64_t tiles = at::divup(columns, cpu::kPackedColumns);
  const auto longest = [&](int64_t width) { return at::divup(at::divup(tiles, width), threads) * width; };
  int64_t best = cpu::kPackedTogether / cpu::kPackedColumns;
  for (int64_t width = best - 1; width > 0; --width)
    if (longest(width) < longest(best)) best = width;
  return best * cpu::kPackedColumns;
}

void run_packed(const cpu::PackedProduct& p, cpu::PackedBody body, float* scratch, float* laid_out, bool lay_out, int64_t threads) {
  const int64_t tiles = at::divup(p.rows, cpu::kPackedRows);
  if (lay_out)
    run_tasks(threads, tiles, at::divup(tiles, kTasksPerThread * threads), [&](int64_t, int64_t begin, int64_t end) { cpu::pack_rows_avx2(p, begin, end, laid_out); });
  run_tasks(threads, p.columns, task_width(p.columns, threads), [&](int64_t thread, int64_t begin, int64_t end) { body(p, laid_out, begin, end, scratch + thread * cpu::kPackedScratch); });
}

}  // namespace

bool packed_here(const Tensor& a, const Tensor& b) {
  if (!a.is_cpu() || a.scalar_type() != at::kFloat || !b.is_cpu() || composed_only() || mkl_at_full_rate() || cpu_isa() != Isa::Avx2) return false;
  if (b.scalar_type() != at::kFloat && b.scalar_type() != at::kBFloat16 && b.scalar_type() != at::kHalf) return false;
  return a.size(0) >= kLeastRows && std::min(b.size(0), b.size(1)) >= kLeastSide && b.numel() > kLeastWeight && (b.stride(0) == 1 || b.stride(1) == 1);
}

void packed_product_t_into(Tensor& y, const Tensor& a, const Tensor& b, double scale, bool add, const Tensor& bias, LaidOutRows* rows) {
  const auto body = b.scalar_type() == at::kBFloat16 ? cpu::kPackedBf16 : b.scalar_type() == at::kHalf ? cpu::kPackedF16 : cpu::kPackedF32;
  const Tensor own_bias = bias.defined() ? bias.contiguous() : bias;
  const int64_t threads = at::in_parallel_region() ? 1 : at::get_num_threads(), deep = equal_piece(a.size(1), kDepthLaidOut, 1);
  const int64_t together = equal_piece(a.size(0), std::max<int64_t>(kLeastRows, kRowsLaidOut / static_cast<int64_t>(sizeof(float)) / deep), cpu::kPackedRows);
  // Kept rows lie piece by piece of the depth, in it piece by piece of the rows; otherwise one piece takes the other's place.
  const int64_t all_rows = at::divup(a.size(0), cpu::kPackedRows) * cpu::kPackedRows, all = all_rows * a.size(1);
  const bool keep = rows && all * static_cast<int64_t>(sizeof(float)) <= kRowsKept, kept = keep && rows->memory.defined();
  const bool read_laid_out = kept || b.size(0) > kFewColumns;
  Tensor memory, own_rows;
  float* const scratch = aligned_floats(memory, threads * cpu::kPackedScratch, a.options());
  float* const laid_out = read_laid_out ? aligned_floats(keep ? rows->memory : own_rows, keep ? all : together * deep, a.options()) : nullptr;
  const auto w_at = [&](int64_t from) { return static_cast<const char*>(b.const_data_ptr()) + from * b.stride(1) * static_cast<int64_t>(b.element_size()); };
  for (int64_t from = 0; from < a.size(1); from += deep)
    for (int64_t row = 0; row < a.size(0); row += together) {
      cpu::PackedProduct p{};
      p.rows = std::min(together, a.size(0) - row), p.columns = b.size(0), p.depth = std::min(deep, a.size(1) - from);
      p.x = a.const_data_ptr<float>() + row * a.stride(0) + from * a.stride(1), p.x_row = a.stride(0), p.x_depth = a.stride(1);
      p.w = w_at(from), p.w_column = b.stride(0), p.w_depth = b.stride(1);
      p.y = y.mutable_data_ptr<float>() + row * y.stride(0), p.y_row = y.stride(0);
      p.bias = bias.defined() && from == 0 ? own_bias.const_data_ptr<float>() : nullptr;
      p.scale = static_cast<float>(scale), p.add = add || from > 0;
      run_packed(p, body, scratch, keep && laid_out ? laid_out + from * all_rows + row * p.depth : laid_out, laid_out && !kept, threads);
    }
}

}  // namespace graft::kernels
