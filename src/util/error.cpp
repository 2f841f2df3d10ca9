#include <shardwise/error.hpp>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fmt/format.h>

namespace shardwise {

char const* to_string(Errc code) noexcept {
    switch (code) {
        case Errc::usage: return "usage";
        case Errc::input: return "input";
        case Errc::io: return "io";
        case Errc::memory: return "memory";
        case Errc::peer: return "peer";
        case Errc::unavailable: return "unavailable";
    }
    return "unknown";
}

Error::Error(Errc code, std::string what) : code_(code), what_(std::move(what)) {
    auto const is_control = [](unsigned char c) { return c < 0x20 || c == 0x7F; };
    std::replace_if(what_.begin(), what_.end(), is_control, '?');
}

Error Error::while_(std::string_view context) const {
    return Error(code_, fmt::format("{}: {}", context, what_)).on_rank(rank_);
}

Error Error::on_rank(int rank) const {
    Error with_rank = *this;
    with_rank.rank_ = rank;
    return with_rank;
}

void throw_errno(int error_number, std::string const& what) {
    Errc const code = error_number == ENOMEM ? Errc::memory : Errc::io;
    throw Error(code, fmt::format("{}: {}", what, std::generic_category().message(error_number)));
}

}  // namespace shardwise
