// What every C++ file of this folder shares: errors that cross the C interface as a message.
#pragma once
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <string>
#include <vector>

namespace var {

// Message of the last failure in this thread; read by var_last_error.
std::string& last_error();

// Runs `f`, which returns a tensor, and hands it out on the heap; null on an exception.
template <class F>
at::Tensor* guarded(F&& f) noexcept {
  try {
    return new at::Tensor(f());
  } catch (const c10::Error& e) {
    last_error() = e.what_without_backtrace();
  } catch (const std::exception& e) {
    last_error() = e.what();
  } catch (...) {
    last_error() = "unknown C++ exception";
  }
  return nullptr;
}

// The same for an `f` that returns nothing: 0, or -1 on an exception.
template <class F>
int checked(F&& f) noexcept {
  try {
    f();
    return 0;
  } catch (const c10::Error& e) {
    last_error() = e.what_without_backtrace();
  } catch (const std::exception& e) {
    last_error() = e.what();
  } catch (...) {
    last_error() = "unknown C++ exception";
  }
  return -1;
}

// Copies of the handles (not of the data).
inline std::vector<at::Tensor> list(at::Tensor* const* tensors, size_t n) {
  std::vector<at::Tensor> all;
  all.reserve(n);
  for (size_t i = 0; i < n; i++) all.push_back(*tensors[i]);
  return all;
}

}  // namespace var
