#include "util/kind_order.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <memory>

#include "util/digits.hpp"
#include "util/natural_order.hpp"

namespace shardwise {
namespace {

constexpr std::uint32_t kKeyBits = 64;

struct SegmentLess {
    bool operator()(std::string_view a, std::string_view b) const noexcept { return compare_segments(a, b) < 0; }
};

/// Bits for all numbers of so many digits.
std::uint32_t bits_of_digits(std::size_t digits) noexcept {
    std::uint64_t most = 0;
    for (; digits > 0; --digits) { most = 10 * most + 9; }
    return static_cast<std::uint32_t>(std::bit_width(most));
}

}  // namespace

/// What segments may follow those on the way here.
struct KindOrder::Node {
    bool is_end = false;          ///< of a kind; comes before all that go on
    std::size_t most_digits = 0;  ///< of numbers, which come next; 0: none
    std::unique_ptr<Node> number;
    std::map<std::string_view, std::unique_ptr<Node>, SegmentLess> texts;

    /// Makes the way of a name. False if a segment counts as the same as another one.
    bool add(std::string_view name) {
        if (name.ends_with('.')) { return false; }  // counts as the name without
        auto* node = this;
        while (!name.empty()) {
            auto const segment = take_segment(name);
            if (is_number(segment)) { node->most_digits = std::max(node->most_digits, segment.size()); }
            auto& next = is_number(segment) ? node->number : node->texts[segment];
            if (!next) { next = std::make_unique<Node>(); }
            if (!is_number(segment) && node->texts.find(segment)->first != segment) { return false; }
            node = next.get();
        }
        node->is_end = true;
        return true;
    }

    Node const* next(std::string_view segment) const {
        return is_number(segment) ? number.get() : texts.find(segment)->second.get();
    }

    /// The branch that a segment takes, in the order of branches.
    std::uint64_t branch_of(std::string_view segment) const {
        std::uint64_t const before = is_end ? 1 : 0;
        if (is_number(segment)) { return before; }
        auto const texts_before = std::distance(texts.begin(), texts.find(segment));
        return before + (number ? 1 : 0) + static_cast<std::uint64_t>(texts_before);
    }

    std::uint32_t branch_bits() const noexcept {
        auto const branches = texts.size() + (number ? 1 : 0) + (is_end ? 1 : 0);
        return static_cast<std::uint32_t>(std::bit_width(branches - 1));
    }
};

std::optional<KindOrder::Kind> KindOrder::kind_of(std::string_view specimen, Node const& root) {
    Kind kind;
    std::uint32_t left = kKeyBits;
    auto const* node = &root;
    while (!specimen.empty()) {
        auto const segment = take_segment(specimen);
        bool const counts = is_number(segment);
        auto const branch_bits = node->branch_bits();
        auto const number_bits = counts ? bits_of_digits(node->most_digits) : 0;
        if (branch_bits + number_bits > left) { return std::nullopt; }
        left -= branch_bits;
        if (branch_bits > 0) { kind.branches |= node->branch_of(segment) << left; }
        left -= number_bits;
        if (counts) {
            kind.numbers.push_back({static_cast<std::uint8_t>(segment.size()), static_cast<std::uint8_t>(left)});
        }
        node = node->next(segment);
    }
    return kind;
}

std::optional<KindOrder> KindOrder::of(std::vector<std::string> const& specimens) {
    Node root;
    for (std::size_t i = 0; i < specimens.size(); i += 2) {
        if (!root.add(specimens[i])) { return std::nullopt; }
    }
    KindOrder order;
    for (std::size_t i = 0; i < specimens.size(); i += 2) {
        auto kind = kind_of(specimens[i], root);
        if (!kind) { return std::nullopt; }
        order.kinds_.push_back(*std::move(kind));
    }
    return order;
}

std::optional<std::uint64_t> KindOrder::key(std::size_t kind, std::string_view digits) const noexcept {
    auto key = kinds_[kind].branches;
    for (auto const& number : kinds_[kind].numbers) {
        if (number.digits > 1 && digits.front() == '0') { return std::nullopt; }
        std::uint64_t value = 0;
        for (auto const digit : digits.substr(0, number.digits)) {
            value = 10 * value + static_cast<std::uint64_t>(digit - '0');
        }
        digits.remove_prefix(number.digits);
        key |= value << number.shift;
    }
    return key;
}

}  // namespace shardwise
