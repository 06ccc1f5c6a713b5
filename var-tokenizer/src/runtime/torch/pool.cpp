// Where large tensors of the processor lie: one reserved range of addresses, in which a freed block joins its
// free neighbours and the smallest hole that is large enough is taken.
//
// Memory that was touched stays in the process, as in any training program: faults in the middle of a step
// cost more than they save. glibc's heap does that too when asked to, but a block of it that was freed is often
// too small for the next one of the same size: aligned blocks ask for more than they keep (glibc 2.36). With it, a
// process that trained was larger by a tenth to a half (docs/performance.md).
#include "pool.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

namespace var {
namespace {

// Smaller blocks are libtorch's own business.
constexpr size_t LARGE = size_t{1} << 20;
// What oneDNN and vector loads like.
constexpr size_t LINE = 64;
// Between blocks: without it, tensors of a round size would all begin at the same place of a page, and loads
// from one would wait for stores to another.
constexpr size_t GAP = 5 * LINE;

class Pool {
 public:
  // Null where there is no room: more than the machine has, or a limit on addresses.
  void* take(size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!reserved_) reserve();
    if (bytes > most_) return nullptr;
    const size_t size = (bytes + LINE - 1) / LINE * LINE + GAP;
    auto hole = by_size_.lower_bound({size, nullptr});
    if (hole == by_size_.end()) return nullptr;
    auto [length, at] = *hole;
    by_size_.erase(hole);
    holes_.erase(at);
    if (length > size) add(at + size, length - size);
    taken_[at] = size;
    return at;
  }

  // Whether `data` was taken here; then it is given back.
  bool give(void* data) {
    auto* at = static_cast<char*>(data);
    if (at < begin_.load() || at >= end_.load()) return false;
    std::lock_guard<std::mutex> lock(mutex_);
    auto block = taken_.find(at);
    size_t size = block->second;
    taken_.erase(block);
    auto next = holes_.lower_bound(at);
    if (next != holes_.end() && next->first == at + size) {
      size += next->second;
      next = drop(next);
    }
    if (next != holes_.begin()) {
      auto previous = std::prev(next);
      if (previous->first + previous->second == at) {
        at = previous->first;
        size += previous->second;
        drop(previous);
      }
    }
    add(at, size);
    return true;
  }

 private:
  void reserve() {
    reserved_ = true;
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page <= 0) return;
    // Addresses are free of charge; with holes, more of them are wanted than there is memory.
    most_ = static_cast<size_t>(pages) * static_cast<size_t>(page);
    const size_t range = 2 * most_;
    void* found = mmap(nullptr, range, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) return;
    // Pages of 2 MiB where the kernel has them: fewer faults and misses. A refusal changes nothing.
    madvise(found, range, MADV_HUGEPAGE);
    begin_ = static_cast<char*>(found);
    end_ = begin_ + range;
    add(begin_, range);
  }

  void add(char* at, size_t size) {
    holes_.emplace(at, size);
    by_size_.emplace(size, at);
  }

  std::map<char*, size_t>::iterator drop(std::map<char*, size_t>::iterator hole) {
    by_size_.erase({hole->second, hole->first});
    return holes_.erase(hole);
  }

  std::mutex mutex_;
  bool reserved_ = false;
  // Set once; read without the lock.
  std::atomic<char*> begin_{nullptr}, end_{nullptr};
  size_t most_ = 0;
  std::map<char*, size_t> holes_;
  // By size, then by address: the heap stays low.
  std::set<std::pair<size_t, char*>> by_size_;
  std::unordered_map<char*, size_t> taken_;
};

// Never destroyed: tensors in static places are freed after everything else.
Pool& pool() {
  static Pool* const only = new Pool();
  return *only;
}

class Allocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes < LARGE ? nullptr : pool().take(bytes);
    // libtorch's own says what is wrong when there is not enough.
    if (data == nullptr) return c10::GetDefaultCPUAllocator()->allocate(bytes);
    c10::profiledCPUMemoryReporter().New(data, bytes);
    return {data, data, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

 private:
  static void release(void* data) {
    if (data == nullptr) return;
    c10::profiledCPUMemoryReporter().Delete(data);
    if (!pool().give(data)) c10::free_cpu(data);
  }
};

}  // namespace

void use_pool() {
  static auto* const allocator = new Allocator();
  c10::SetCPUAllocator(allocator);
}

}  // namespace var
#else
namespace var {
void use_pool() {}
}  // namespace var
#endif
