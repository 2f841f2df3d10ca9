/// @file
/// What becomes of one range over as many read calls as it takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <boost/container/small_vector.hpp>
#include <sys/uio.h>

#include <shardwise/plan.hpp>

#include "io/file_access.hpp"
#include "io/reader.hpp"

namespace shardwise {

/// The part of a range that is still to be read, and where it lands. Reads that came back short go on from where they
/// stopped; direct ones from the page before it.
///
/// As ReadRequest has it: `into` begins on a page; byte range.begin lands at into[range.begin % kSlotAlignment],
/// whichever way it is read, unless it lies in a landing.
class Transfer {
   public:
    Transfer(FileRange range, std::span<std::byte> into, bool is_direct, std::span<Landing const> landings = {});

    std::uint32_t file() const noexcept { return range_.file; }
    std::uint64_t offset() const noexcept { return offset_; }          ///< in the file, of the next read
    std::uint64_t size_bytes() const noexcept { return size_bytes_; }  ///< of the next read
    bool is_direct() const noexcept { return is_direct_; }

    /// Where the next read lands, one stretch of memory after the other.
    std::span<iovec const> targets() const noexcept { return {targets_.data(), targets_.size()}; }

    /// The same where there are no landings: one stretch.
    std::span<std::byte> target() const noexcept {
        return {static_cast<std::byte*>(targets_.front().iov_base), targets_.front().iov_len};
    }

    /// Counts @p got bytes as read. True when all of the range is there.
    bool advance(std::uint64_t got);

    /// Starts over from where it stopped, buffered.
    void stop_direct();

    /// The bytes of the range that lie in no landing, at their places, once advance() has said so.
    std::span<std::byte const> data() const noexcept;

    /// Descriptor for the next read.
    int fd(FileAccess const& access) const noexcept { return is_direct_ ? access.direct_fd() : access.fd(); }

   private:
    void aim(std::uint64_t next);
    void add_target(std::span<std::byte> target);

    FileRange range_;
    std::span<std::byte> into_;
    bool is_direct_;
    boost::container::small_vector<Landing, 1> landings_;
    std::uint64_t offset_ = 0;
    std::uint64_t size_bytes_ = 0;
    boost::container::small_vector<iovec, 3> targets_;  ///< one at least
};

/// What to do after one read call.
enum class NextStep : std::uint8_t {
    done,       ///< all of the range is there
    again,      ///< read on
    fall_back,  ///< read on, buffered: the file system refuses direct I/O after all
};

/// Takes in what one read call of a transfer gave.
/// @param outcome bytes read, or a negative errno.
/// @throws Error as check_outcome.
NextStep take_outcome(FileAccess const& access, Transfer& transfer, std::int64_t outcome);

}  // namespace shardwise
