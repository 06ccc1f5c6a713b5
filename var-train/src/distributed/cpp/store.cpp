// The key-value store through which ranks find each other.
#include "shim.h"

#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <cstdlib>
#include <cstring>

using var::attempt;
using var::Milliseconds;
using var::Store;

extern "C" {
const char* var_c10d_error() { return var::c10d_error().c_str(); }

// Silences c10d, which writes warnings with backtraces to standard error: our errors say the same. If the user sets
// TORCH_CPP_LOG_LEVEL, that level applies.
void var_c10d_quiet() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") != nullptr) {
    c10::initLogging();
  } else {
    FLAGS_caffe2_log_level = c10::GLOG_FATAL;
  }
}

// Connects to the store at host:port. With `serve`, first serves it there (port 0: any free port).
int var_store_open(const char* host, uint16_t port, int serve, int64_t timeout, Store** out) {
  return attempt([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve != 0;
    options.waitWorkers = false;
    options.timeout = Milliseconds(timeout);
    *out = new Store(c10::make_intrusive<c10d::TCPStore>(host, options));
  });
}

int var_store_port(Store* store) {
  auto* tcp = dynamic_cast<c10d::TCPStore*>(store->get());
  return tcp == nullptr ? 0 : tcp->getPort();
}

// The same store with `prefix` before every key, over the same connection.
int var_store_prefix(Store* store, const char* prefix, Store** out) {
  return attempt([&] { *out = new Store(c10::make_intrusive<c10d::PrefixStore>(prefix, *store)); });
}

// The same store over a new connection: a connection handles one request at a time.
int var_store_clone(Store* store, Store** out) {
  return attempt([&] { *out = new Store((*store)->clone()); });
}

int var_store_set(Store* store, const char* key, const uint8_t* data, size_t length) {
  return attempt([&] { (*store)->set(key, std::vector<uint8_t>(data, data + length)); });
}

// Copies the value of `key`, at most `room` bytes. The key must exist.
int var_store_get(Store* store, const char* key, uint8_t* data, size_t room, size_t* length) {
  return attempt([&] {
    const auto value = (*store)->get(key);
    *length = std::min(room, value.size());
    std::memcpy(data, value.data(), *length);
  });
}

int var_store_add(Store* store, const char* key, int64_t amount, int64_t* sum) {
  return attempt([&] { *sum = (*store)->add(key, amount); });
}

int var_store_check(Store* store, const char* key, int* there) {
  return attempt([&] { *there = (*store)->check({key}) ? 1 : 0; });
}

void var_store_free(Store* store) { delete store; }
}
