/// @file
/// Move-only owners of C handles.
#pragma once

#include <utility>

namespace shardwise {

/// Owns one C handle and closes it once. Borrowed handles stay raw.
/// Traits give `type`, `null()` and `close(type) noexcept`.
template <class Traits>
class UniqueHandle {
   public:
    using type = typename Traits::type;

    UniqueHandle() noexcept = default;
    explicit UniqueHandle(type raw) noexcept : raw_(raw) {}
    UniqueHandle(UniqueHandle&& other) noexcept : raw_(other.release()) {}
    UniqueHandle& operator=(UniqueHandle&& other) noexcept {
        reset(other.release());
        return *this;
    }
    ~UniqueHandle() { reset(); }

    explicit operator bool() const noexcept { return raw_ != Traits::null(); }
    type get() const noexcept { return raw_; }
    type release() noexcept { return std::exchange(raw_, Traits::null()); }
    void reset(type raw = Traits::null()) noexcept {
        if (type const old = std::exchange(raw_, raw); old != Traits::null()) { Traits::close(old); }
    }

   private:
    type raw_ = Traits::null();
};

struct FdTraits {
    using type = int;
    static type null() noexcept { return -1; }
    static void close(type fd) noexcept;
};

/// A file descriptor.
using Fd = UniqueHandle<FdTraits>;

}  // namespace shardwise
