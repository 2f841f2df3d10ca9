#include <shardwise/error.hpp>

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

Error Error::while_(std::string_view context) const {
    Error with_context = *this;
    with_context.what_ = fmt::format("{}: {}", context, what_);
    return with_context;
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
