// Shared by the C++ files of this folder: handles, and the conversion of exceptions to messages at the C interface.
#pragma once
#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <string>

namespace var {

// The handles of a store and of a group in Rust. `new` makes them, their `free` function deletes them.
using Store = c10::intrusive_ptr<c10d::Store>;
using Group = c10::intrusive_ptr<c10d::ProcessGroup>;
using Milliseconds = std::chrono::milliseconds;

// Message of the last failure in this thread.
inline std::string& c10d_error() {
  static thread_local std::string message;
  return message;
}

// Runs `f`. Returns 0, or after an exception -1, with its message in `c10d_error`.
template <class F>
int attempt(F&& f) noexcept {
  try {
    f();
    return 0;
  } catch (const c10::Error& e) {
    c10d_error() = e.what_without_backtrace();
  } catch (const std::exception& e) {
    c10d_error() = e.what();
  } catch (...) {
    c10d_error() = "unknown C++ exception";
  }
  return -1;
}

}  // namespace var
