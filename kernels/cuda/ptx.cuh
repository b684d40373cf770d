// The one home of inline assembly: each instruction that C++ has no word for, for the device and for the emulation.
//
// Names say what is done; the instruction stands in the body. Waits that turn are bounded: `spin_until` traps after about
// two seconds on a device, and the emulation reports the spin. Instructions of Hopper are traps when compiled for Ampere.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#ifndef LOAM_EMULATE
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
#define HOPPER(...) __trap();
#else
#define HOPPER(...) __VA_ARGS__
#endif
#endif

namespace ptx {

#ifndef LOAM_EMULATE  // ---- the device; what each does is said here

__device__ __forceinline__ uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }

// Copies 16 bytes from memory to shared memory, past L1; the bytes after `valid` (0 to 16) become 0 and are not read.
__device__ __forceinline__ void copy_async_16(void* to, const void* from, unsigned valid = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid) : "memory");
}
// As above, 8 bytes, by way of L1.
__device__ __forceinline__ void copy_async_8(void* to, const void* from, unsigned valid = 8) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid) : "memory");
}
// As above, 4 bytes, by way of L1.
__device__ __forceinline__ void copy_async_4(void* to, const void* from, unsigned valid = 4) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid) : "memory");
}
// Ends a group: this thread's copies since the last one.
__device__ __forceinline__ void copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until at most `kLeft` of this thread's groups are under way. Other threads' copies: a barrier after it.
template <int kLeft> __device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}
// Waits for all of this thread's copies.
__device__ __forceinline__ void copy_wait_all() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}
// 1 matrix of 8 by 8 values of 16 bits: lane l gives row l % 8 of matrix l / 8 (lanes 0 to 7), and gets the pair at row l / 4, columns l % 4 * 2.
__device__ __forceinline__ void load_matrix_x1(uint32_t (&to)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(to[0]) : "r"(shared_address(row)) : "memory");
}
// 1 matrix of 8 by 8 values of 16 bits, transposed: lane l gives row l % 8 of matrix l / 8 (lanes 0 to 7), and gets the pair at row l / 4, columns l % 4 * 2 of the transposed.
__device__ __forceinline__ void load_matrix_x1_transposed(uint32_t (&to)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(to[0]) : "r"(shared_address(row)) : "memory");
}
// 2 matrices of 8 by 8 values of 16 bits: lane l gives row l % 8 of matrix l / 8 (lanes 0 to 15), and gets the pair at row l / 4, columns l % 4 * 2.
__device__ __forceinline__ void load_matrix_x2(uint32_t (&to)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "r"(shared_address(row)) : "memory");
}
// 2 matrices of 8 by 8 values of 16 bits, transposed: lane l gives row l % 8 of matrix l / 8 (lanes 0 to 15), and gets the pair at row l / 4, columns l % 4 * 2 of the transposed.
__device__ __forceinline__ void load_matrix_x2_transposed(uint32_t (&to)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "r"(shared_address(row)) : "memory");
}
// 4 matrices of 8 by 8 values of 16 bits: lane l gives row l % 8 of matrix l / 8 (lanes 0 to 31), and gets the pair at row l / 4, columns l % 4 * 2.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(shared_address(row)) : "memory");
}
// 4 matrices of 8 by 8 values of 16 bits, transposed: lane l gives row l % 8 of matrix l / 8 (lanes 0 to 31), and gets the pair at row l / 4, columns l % 4 * 2 of the transposed.
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(shared_address(row)) : "memory");
}
// d[16, 8] += a[16, 16] b[16, 8], a and b in bf16. Lane l, g = l / 4, t = l % 4 * 2: d = (g, t..), (g + 8, t..); a = (g, t..), (g + 8, t..),
// (g, t + 8..), (g + 8, t + 8..); b = (t.., g), (t + 8.., g).
__device__ __forceinline__ void multiply_16x8x16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// d[16, 8] += a[16, 16] b[16, 8], a and b in f16. Lane l, g = l / 4, t = l % 4 * 2: d = (g, t..), (g + 8, t..); a = (g, t..), (g + 8, t..),
// (g, t + 8..), (g + 8, t + 8..); b = (t.., g), (t + 8.., g).
__device__ __forceinline__ void multiply_16x8x16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Waits until the kernels before this one have ended and their writes can be seen. Every kernel launched with `programmatic` calls it.
__device__ __forceinline__ void dependency_wait() {
  HOPPER(asm volatile("griddepcontrol.wait;" ::: "memory");)
}
// Lets the next kernel begin, up to its own wait.
__device__ __forceinline__ void dependency_release() {
  HOPPER(asm volatile("griddepcontrol.launch_dependents;" ::: "memory");)
}
// Waits at barrier `number` (1 to 15) until `threads` threads, whole warps, have come.
__device__ __forceinline__ void barrier_wait(unsigned number, unsigned threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
// Comes to the barrier, and goes on.
__device__ __forceinline__ void barrier_arrive(unsigned number, unsigned threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
// Makes a barrier of phases at 8 aligned bytes of shared memory. Others may use it after a barrier that follows mbarrier_made.
__device__ __forceinline__ void mbarrier_init(uint64_t* at, unsigned arrivals) {
  HOPPER(asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(at)), "r"(arrivals) : "memory");)
}
// After the last init: makes them known to bulk copies.
__device__ __forceinline__ void mbarrier_made() {
  HOPPER(asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); asm volatile("fence.proxy.async.shared::cta;" ::: "memory");)
}
// One arrival.
__device__ __forceinline__ void mbarrier_arrive(uint64_t* at) {
  HOPPER(asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(at)) : "memory");)
}
// One arrival, and `bytes` more that the phase waits for.
__device__ __forceinline__ void mbarrier_arrive_expect(uint64_t* at, unsigned bytes) {
  HOPPER(asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(at)), "r"(bytes) : "memory");)
}
// Copies `bytes` (16 times any) between addresses that are multiples of 16; the phase counts them when they have landed.
__device__ __forceinline__ void bulk_copy(void* to, const void* from, unsigned bytes, uint64_t* at) {
  HOPPER(asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                      ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(at)) : "memory");)
}
// Between reads of shared memory and a bulk copy over it. The emulation does not prove that it is there.
__device__ __forceinline__ void bulk_fence() {
  HOPPER(asm volatile("fence.proxy.async.shared::cta;" ::: "memory");)
}
// Whether the phase of this parity (0 the first) has ended.
__device__ __forceinline__ bool mbarrier_test(uint64_t* at, unsigned parity) {
  uint32_t ended = 0;
  HOPPER(asm volatile("{\n .reg .pred p;\n mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}"
                      : "=r"(ended) : "r"(shared_address(at)), "r"(parity) : "memory");)
  return ended;
}
// Reads 16 bytes that no one writes meanwhile, once: they are kept in L2 only shortly and in L1 not at all.
__device__ __forceinline__ uint4 load_once_16(const void* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}
// Reads 16 bytes that no one writes meanwhile and others will read too.
__device__ __forceinline__ uint4 load_16(const void* p) {
  uint4 v;
  asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}
// Writes 16 bytes that are not read soon.
__device__ __forceinline__ void store_once_16(void* p, uint4 v) {
  asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(p), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
// Asks for the line at `p` to come to L2.
__device__ __forceinline__ void prefetch_l2(const void* p) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}
// 2^x to about 2 units in the last place; 0 below -126.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Adds to a ticket. What this thread wrote, and knew of, before can be seen by who draws a later one.
__device__ __forceinline__ uint32_t ticket_add(uint32_t* p, uint32_t value) {
  uint32_t old;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(p), "r"(value) : "memory");
  return old;
}
// Draws a ticket that begins at 0 again after `last`.
__device__ __forceinline__ uint32_t ticket_draw(uint32_t* p, uint32_t last) {
  uint32_t old;
  asm volatile("atom.inc.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(p), "r"(last) : "memory");
  return old;
}
// Reads a flag that another block, a copy or the host sets; what was written before it was set can be seen.
__device__ __forceinline__ uint32_t flag_read(const uint32_t* p) {
  uint32_t v;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
// Sets a flag after all that this thread wrote.
__device__ __forceinline__ void flag_set(uint32_t* p, uint32_t value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}
// Turns until `done()`; gives up, loudly, rather than never.
template <class Done> __device__ __forceinline__ void spin_until(Done done) {
  const long long begun = clock64();
  while (!done()) if (clock64() - begun > 4000000000ll) __trap();
}
// Waits for the end of the phase of this parity.
__device__ __forceinline__ void mbarrier_wait(uint64_t* at, unsigned parity) {
  spin_until([=] { return mbarrier_test(at, parity); });
}

#else  // ---- the emulation, in the same order

EMULATED void copy_async_16(void* to, const void* from, unsigned valid = 16, emulation::Site site = emulation::Site::current()) {
  emulation::copy_async(to, from, 16, valid, site);
}
EMULATED void copy_async_8(void* to, const void* from, unsigned valid = 8, emulation::Site site = emulation::Site::current()) {
  emulation::copy_async(to, from, 8, valid, site);
}
EMULATED void copy_async_4(void* to, const void* from, unsigned valid = 4, emulation::Site site = emulation::Site::current()) {
  emulation::copy_async(to, from, 4, valid, site);
}
EMULATED void copy_commit(emulation::Site site = emulation::Site::current()) {
  (void)site, emulation::copy_commit();
}
template <int kLeft> EMULATED void copy_wait(emulation::Site site = emulation::Site::current()) {
  (void)site, emulation::copy_wait(kLeft);
}
EMULATED void copy_wait_all(emulation::Site site = emulation::Site::current()) {
  (void)site, emulation::copy_wait(~0u);
}
EMULATED void load_matrix_x1(uint32_t (&to)[1], const void* row, emulation::Site site = emulation::Site::current()) {
  emulation::matrix_load(to, 1, false, row, site);
}
EMULATED void load_matrix_x1_transposed(uint32_t (&to)[1], const void* row, emulation::Site site = emulation::Site::current()) {
  emulation::matrix_load(to, 1, true, row, site);
}
EMULATED void load_matrix_x2(uint32_t (&to)[2], const void* row, emulation::Site site = emulation::Site::current()) {
  emulation::matrix_load(to, 2, false, row, site);
}
EMULATED void load_matrix_x2_transposed(uint32_t (&to)[2], const void* row, emulation::Site site = emulation::Site::current()) {
  emulation::matrix_load(to, 2, true, row, site);
}
EMULATED void load_matrix_x4(uint32_t (&to)[4], const void* row, emulation::Site site = emulation::Site::current()) {
  emulation::matrix_load(to, 4, false, row, site);
}
EMULATED void load_matrix_x4_transposed(uint32_t (&to)[4], const void* row, emulation::Site site = emulation::Site::current()) {
  emulation::matrix_load(to, 4, true, row, site);
}
EMULATED void multiply_16x8x16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], emulation::Site site = emulation::Site::current()) {
  emulation::matrix_multiply(d, a, b, false, site);
}
EMULATED void multiply_16x8x16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], emulation::Site site = emulation::Site::current()) {
  emulation::matrix_multiply(d, a, b, true, site);
}
EMULATED void dependency_wait(emulation::Site site = emulation::Site::current()) {
  (void)site, emulation::dependency_wait();
}
EMULATED void dependency_release(emulation::Site site = emulation::Site::current()) {
  (void)site;
}
EMULATED void barrier_wait(unsigned number, unsigned threads, emulation::Site site = emulation::Site::current()) {
  emulation::sync_named(number, threads, true, site);
}
EMULATED void barrier_arrive(unsigned number, unsigned threads, emulation::Site site = emulation::Site::current()) {
  emulation::sync_named(number, threads, false, site);
}
EMULATED void mbarrier_init(uint64_t* at, unsigned arrivals, emulation::Site site = emulation::Site::current()) {
  emulation::mbarrier_init(at, arrivals, site);
}
EMULATED void mbarrier_made(emulation::Site site = emulation::Site::current()) {
  (void)site;
}
EMULATED void mbarrier_arrive(uint64_t* at, emulation::Site site = emulation::Site::current()) {
  emulation::mbarrier_arrive(at, site);
}
EMULATED void mbarrier_arrive_expect(uint64_t* at, unsigned bytes, emulation::Site site = emulation::Site::current()) {
  emulation::mbarrier_expect(at, bytes, true, site);
}
EMULATED void bulk_copy(void* to, const void* from, unsigned bytes, uint64_t* at, emulation::Site site = emulation::Site::current()) {
  emulation::bulk_copy(to, from, bytes, at, site);
}
EMULATED void bulk_fence(emulation::Site site = emulation::Site::current()) {
  (void)site;
}
EMULATED bool mbarrier_test(uint64_t* at, unsigned parity, emulation::Site site = emulation::Site::current()) {
  return emulation::mbarrier_test(at, parity, site);
}
EMULATED uint4 load_once_16(const void* p, emulation::Site site = emulation::Site::current()) {
  emulation::touch_unchanging(p, 16, site);
  uint4 v;
  memcpy(&v, p, 16);
  return v;
}
EMULATED uint4 load_16(const void* p, emulation::Site site = emulation::Site::current()) {
  emulation::touch_unchanging(p, 16, site);
  uint4 v;
  memcpy(&v, p, 16);
  return v;
}
EMULATED void store_once_16(void* p, uint4 v, emulation::Site site = emulation::Site::current()) {
  emulation::touch(p, 16, true, site);
  memcpy(p, &v, 16);
}
EMULATED void prefetch_l2(const void* p, emulation::Site site = emulation::Site::current()) {
  (void)p, (void)site;
}
EMULATED float exp2_fast(float x, emulation::Site site = emulation::Site::current()) {
  return (void)site, x < -126.0f ? 0.0f : exp2f(x);
}
EMULATED uint32_t ticket_add(uint32_t* p, uint32_t value, emulation::Site site = emulation::Site::current()) {
  return emulation::atomic32(emulation::Atomic::kAdd, p, value, 0, false, emulation::Orders::kBoth, site);
}
EMULATED uint32_t ticket_draw(uint32_t* p, uint32_t last, emulation::Site site = emulation::Site::current()) {
  return emulation::atomic32(emulation::Atomic::kIncrement, p, last, 0, false, emulation::Orders::kBoth, site);
}
EMULATED uint32_t flag_read(const uint32_t* p, emulation::Site site = emulation::Site::current()) {
  return emulation::atomic32(emulation::Atomic::kOr, const_cast<uint32_t*>(p), 0, 0, false, emulation::Orders::kHears, site);
}
EMULATED void flag_set(uint32_t* p, uint32_t value, emulation::Site site = emulation::Site::current()) {
  emulation::atomic32(emulation::Atomic::kExchange, p, value, 0, false, emulation::Orders::kTells, site);
}
template <class Done> EMULATED void spin_until(Done done, emulation::Site site = emulation::Site::current()) {
  while (!done()) emulation::yield("a spin", site);
}
EMULATED void mbarrier_wait(uint64_t* at, unsigned parity, emulation::Site site = emulation::Site::current()) {
  while (!emulation::mbarrier_test(at, parity, site)) emulation::yield("an mbarrier", site);
}

#endif

}  // namespace ptx
