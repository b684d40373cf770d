// A stand-in for cuBLASLt: products as kernels/src/cuda/device/library.rs asks for them, in the order of the driver's stand-in.
//
// Matrices are by columns. It takes what the library's tables of types allow and reads what it is given as the library does:
// descriptors and factors when it is called, values when its turn in the stream comes. Of its guesses, one does not run, one
// needs a workspace, and one needs addresses that are as good as was said.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <set>
#include <vector>

#include "driver.h"

namespace {

enum Status : int { kDone = 0, kInvalidValue = 7, kNotSupported = 15 };
enum Type : int { kF32 = 0, kF16 = 2, kBf16 = 14 };
constexpr uint32_t kReductionInF32 = 2;
constexpr int kComputeF32 = 68, kTransposed = 1, kEpilogueBias = 4;
constexpr size_t kWorkspaceBytes = 1 << 20;

struct Layout { int type; uint64_t rows, columns; int64_t stride; };
struct Operation {
  int transposed[2] = {}, epilogue = 1;
  const void* bias = nullptr;
  int bias_type = -1;
};
struct Wish { uint64_t workspace_bytes = 0; uint32_t reductions = ~0u, alignment[4] = {256, 256, 256, 256}; };
struct Algorithm { uint64_t kind, workspace_bytes, alignment[4], unused[2]; };
struct Guess { Algorithm algorithm; size_t workspace_bytes; int state; float waves; int unused[4]; };

int refuse(int status, const char* why) { return fprintf(stderr, "the library's stand-in refuses (%d): %s\n", status, why), status; }

float widen(const void* at, int type, size_t n) {
  uint16_t half;
  if (type == kF32) return ((const float*)at)[n];
  memcpy(&half, (const char*)at + 2 * n, 2);
  if (type == kF16) { _Float16 value; return memcpy(&value, &half, 2), (float)value; }
  const uint32_t bits = (uint32_t)half << 16;
  float value;
  return memcpy(&value, &bits, 4), value;
}
void narrow(void* at, int type, size_t n, float value) {
  if (type == kF32) { ((float*)at)[n] = value; return; }
  uint16_t half;
  if (type == kF16) {
    const _Float16 rounded = (_Float16)value;
    memcpy(&half, &rounded, 2);
  } else {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    half = value != value ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  memcpy((char*)at + 2 * n, &half, 2);
}

// `out = weights^T x`, `weights` being [k, m], `x` [k, n] and `out` [m, n].
const char* wrong(const Operation& o, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  if (o.transposed[0] != kTransposed || o.transposed[1]) return "a product that is not of the first transposed";
  if (a.rows != b.rows || a.columns != d.rows || b.columns != d.columns || c.rows != d.rows || c.columns != d.columns) return "shapes";
  for (const Layout* it : {&a, &b, &c, &d}) if (it->stride < (int64_t)it->rows) return "columns that overlap";
  if (a.type != b.type || c.type != d.type || (d.type != a.type && d.type != kF32)) return "types";
  if (o.epilogue == kEpilogueBias && (!o.bias || (o.bias_type != d.type && o.bias_type != -1))) return "a bias";
  return nullptr;
}

struct Product {
  Operation operation;
  Layout a, b, d;
  const void *weights, *x;
  void* out;
  float factor;
};
int compute(void* given) {
  const Product& p = *(Product*)given;
  for (uint64_t n = 0; n < p.d.columns; ++n)
    for (uint64_t m = 0; m < p.d.rows; ++m) {
      float sum = 0;
      for (uint64_t k = 0; k < p.a.rows; ++k)
        sum += widen(p.weights, p.a.type, m * p.a.stride + k) * widen(p.x, p.b.type, n * p.b.stride + k);
      sum *= p.factor;
      if (p.operation.epilogue == kEpilogueBias) sum += widen(p.operation.bias, p.d.type, m);
      narrow(p.out, p.d.type, n * p.d.stride + m, sum);
    }
  return 0;
}

}  // namespace

extern "C" {

int cublasLtCreate(void** out) { return *out = new int, kDone; }
int cublasLtDestroy(void* handle) { return delete (int*)handle, kDone; }
const char* cublasLtGetStatusString(int) { return "the library's stand-in says why on stderr"; }
const char* cublasLtGetStatusName(int) { return "CUBLAS_STATUS"; }

int cublasLtMatrixLayoutCreate(Layout** out, int type, uint64_t rows, uint64_t columns, int64_t stride) {
  return *out = new Layout{type, rows, columns, stride}, kDone;
}
int cublasLtMatrixLayoutDestroy(Layout* it) { return delete it, kDone; }
int cublasLtMatmulDescCreate(Operation** out, int compute, int scale) {
  if (compute != kComputeF32 || scale != kF32) return refuse(kNotSupported, "sums that are not in f32");
  return *out = new Operation, kDone;
}
int cublasLtMatmulDescDestroy(Operation* it) { return delete it, kDone; }
int cublasLtMatmulDescSetAttribute(Operation* it, int which, const void* value, size_t bytes) {
  const auto take = [&](void* to, size_t size) { return bytes == size ? (memcpy(to, value, size), kDone) : refuse(kInvalidValue, "an attribute's size"); };
  switch (which) {
    case 3: return take(&it->transposed[0], 4);
    case 4: return take(&it->transposed[1], 4);
    case 7: return take(&it->epilogue, 4);
    case 8: return take(&it->bias, 8);
    case 26: return take(&it->bias_type, 4);
    default: return refuse(kInvalidValue, "an attribute of a product that nobody was known to set");
  }
}
int cublasLtMatmulPreferenceCreate(Wish** out) { return *out = new Wish, kDone; }
int cublasLtMatmulPreferenceDestroy(Wish* it) { return delete it, kDone; }
int cublasLtMatmulPreferenceSetAttribute(Wish* it, int which, const void* value, size_t bytes) {
  if (which == 1 && bytes == 8) return memcpy(&it->workspace_bytes, value, 8), kDone;
  if (which == 3 && bytes == 4) return memcpy(&it->reductions, value, 4), kDone;
  if (which >= 5 && which <= 8 && bytes == 4) return memcpy(&it->alignment[which - 5], value, 4), kDone;
  return refuse(kInvalidValue, "a wish that nobody was known to have");
}

int cublasLtMatmulAlgoGetHeuristic(void*, Operation* o, Layout* a, Layout* b, Layout* c, Layout* d, Wish* wish, int room, Guess* out,
                                   int* count) {
  *count = 0;
  if (const char* what = wrong(*o, *a, *b, *c, *d)) return refuse(kNotSupported, what);
  if (wish->reductions & ~kReductionInF32) return refuse(kInvalidValue, "parts of a sum that may be rounded before they are added");
  for (uint64_t kind = 0; kind < 3 && *count < room; ++kind) {
    const uint64_t needs = kind == 1 ? kWorkspaceBytes : 0;
    if (needs > wish->workspace_bytes) continue;
    Guess& guess = out[(*count)++] = {};
    guess.algorithm.kind = kind, guess.algorithm.workspace_bytes = guess.workspace_bytes = needs;
    for (int n = 0; n < 4; ++n) guess.algorithm.alignment[n] = wish->alignment[n];
  }
  return kDone;
}

int cublasLtMatmul(void*, Operation* o, const float* factor, const void* x, Layout* a, const void* y, Layout* b, const float* addend,
                   const void* z, Layout* c, void* out, Layout* d, const Algorithm* how, void* workspace, size_t workspace_bytes,
                   void* stream) {
  if (const char* what = wrong(*o, *a, *b, *c, *d)) return refuse(kInvalidValue, what);
  if (how->kind == 0) return kNotSupported;
  if (*addend != 0) return refuse(kNotSupported, "what is added to what was there");
  if (how->workspace_bytes && (!workspace || (uintptr_t)workspace % 256 || workspace_bytes < how->workspace_bytes))
    return refuse(kInvalidValue, "a workspace");
  const void* each[4] = {x, y, z, out};
  for (int n = 0; n < 4; ++n)
    if ((uintptr_t)each[n] % how->alignment[n]) return refuse(kInvalidValue, "an address that is worse than was said");
  const auto values = [](const Layout& l) { return l.columns ? ((l.columns - 1) * l.stride + l.rows) * (l.type == kF32 ? 4 : 2) : 0; };
  if (!loam_stand_in_holds(x, values(*a), "weights") || !loam_stand_in_holds(y, values(*b), "an input") ||
      !loam_stand_in_holds(out, values(*d), "an output") ||
      (o->epilogue == kEpilogueBias && !loam_stand_in_holds(o->bias, d->rows * (d->type == kF32 ? 4 : 2), "a bias")))
    return kInvalidValue;
  auto* work = new Product{*o, *a, *b, *d, x, y, out, *factor};
  const int failed = loam_stand_in_put(stream, "stand_in_gemm", compute, [](void* work) { delete (Product*)work; }, work);
  return failed ? 13 : kDone;
}
}
