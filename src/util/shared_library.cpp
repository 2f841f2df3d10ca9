#include "util/shared_library.hpp"

#include <utility>

#include <dlfcn.h>
#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

/// Why the loader refused last.
std::string loader_words() {
    char const* const words = ::dlerror();
    return words == nullptr ? "no reason given" : words;
}

}  // namespace

void LibraryTraits::close(void* library) noexcept {
    ::dlclose(library);
}

SharedLibrary::SharedLibrary(std::string name)
    : name_(std::move(name)), library_(::dlopen(name_.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (!library_) { throw Error(Errc::unavailable, fmt::format("load {}: {}", name_, loader_words())); }
}

void* SharedLibrary::address_of(char const* symbol) const {
    if (auto* const address = address_or_null(symbol)) { return address; }
    throw Error(Errc::unavailable, fmt::format("find {} in {}: {}", symbol, name_, loader_words()));
}

void* SharedLibrary::address_or_null(char const* symbol) const noexcept {
    return ::dlsym(library_.get(), symbol);
}

}  // namespace shardwise
