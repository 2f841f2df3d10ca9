/// @file
/// Hashing of names, of which a checkpoint has many.
#pragma once

#include <bit>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <xxhash.h>

namespace shardwise {

struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept { return XXH3_64bits(name.data(), name.size()); }
};

/// A set of names for looking up; the texts lie elsewhere. Names stand side by side, each at the first free place from
/// where its hash points to: a set that allocates for each of them takes several times as long.
class HashedNames {
   public:
    HashedNames() = default;

    template <class Iterator>
    HashedNames(Iterator first, Iterator last) {
        insert(first, last);
    }

    /// Makes room for so many names in all.
    void reserve(std::size_t count) {
        auto const places = std::bit_ceil(2 * count + 1);
        if (places <= places_.size()) { return; }
        auto const before = std::exchange(places_, std::vector<std::string_view>(places));
        for (auto const name : before) {
            if (name.data() != nullptr) { place_of(name) = name; }
        }
    }

    /// True if the name was not there.
    bool insert(std::string_view name) {
        if (name.data() == nullptr) { name = ""; }
        if (2 * (size_ + 1) > places_.size()) { reserve(2 * (size_ + 1)); }
        auto& place = place_of(name);
        if (place.data() != nullptr) { return false; }
        place = name;
        ++size_;
        return true;
    }

    template <class Iterator>
    void insert(Iterator first, Iterator last) {
        reserve(size_ + static_cast<std::size_t>(std::distance(first, last)));
        for (; first != last; ++first) { insert(std::string_view(*first)); }
    }

    bool contains(std::string_view name) const noexcept { return size_ > 0 && place_of(name).data() != nullptr; }
    bool empty() const noexcept { return size_ == 0; }

   private:
    /// Where the name is, or where it would be.
    std::string_view const& place_of(std::string_view name) const noexcept {
        auto const last = places_.size() - 1;  // a power of two less one
        auto at = NameHash()(name) & last;
        while (places_[at].data() != nullptr && places_[at] != name) { at = (at + 1) & last; }
        return places_[at];
    }
    std::string_view& place_of(std::string_view name) noexcept {
        return const_cast<std::string_view&>(std::as_const(*this).place_of(name));
    }

    std::vector<std::string_view> places_;  ///< half of them are free at least
    std::size_t size_ = 0;
};

/// Something for each name.
template <class T>
using NameMap = std::unordered_map<std::string, T, NameHash, std::equal_to<>>;

}  // namespace shardwise
