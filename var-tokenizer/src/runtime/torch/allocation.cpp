// Counts the bytes of tensors that a thread holds on the processor.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <memory>

#include "shim.h"

namespace var {
namespace {

// libtorch tells this of every block that its allocator hands out or takes back.
struct Count final : c10::MemoryReportingInfoBase {
  int64_t held = 0, most = 0;

  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device device) override {
    if (!device.is_cpu()) return;
    held += bytes;
    most = std::max(most, held);
  }
  bool memoryProfilingEnabled() const override { return true; }
};

struct Counting {
  std::shared_ptr<Count> count = std::make_shared<Count>();
  c10::DebugInfoGuard guard{c10::DebugInfoKind::PROFILER_STATE, count};
};

}  // namespace
}  // namespace var

extern "C" {
// Counts in this thread from now on; null on an exception.
void* var_count_begin() {
  void* counting = nullptr;
  var::checked([&] { counting = new var::Counting(); });
  return counting;
}

// Most bytes held at once so far; with `again` the count of the most begins anew at what is held now.
int64_t var_count_most(void* handle, int again) {
  auto& count = *static_cast<var::Counting*>(handle)->count;
  const int64_t most = count.most;
  if (again) count.most = count.held;
  return most;
}

// Ends the counting; the same thread, the last begun first.
void var_count_end(void* handle) { delete static_cast<var::Counting*>(handle); }
}
