/// @file
/// What a test says to the stand-in for libcufile.so.0 and hears from it. The stand-in reads files into memory of the
/// host, and writes down whatever a real one would refuse or could not forgive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace shardwise::test {

/// What becomes of one read.
struct FakeRead {
    enum class Kind : std::uint8_t {
        short_by,  ///< as many bytes less
        fails,     ///< -1 with this errno
        refused,   ///< minus this code, 5001 and on
        slow,      ///< right, as many milliseconds later
    };
    Kind kind;
    int value;
};

/// The way that reads are counted as having gone.
enum class FakePath : std::uint8_t { p2p, nvfs, posix };

struct FakeCounts {
    int opens = 0;
    int closes = 0;
    int files = 0;    ///< registered so far
    int buffers = 0;  ///< registered so far
    int reads = 0;
    int open_files = 0;    ///< registered now
    int open_buffers = 0;  ///< registered now
    bool operator==(FakeCounts const&) const = default;
};

/// What the driver was opened with.
struct FakeSettings {
    bool allows_compatible = true;
    std::size_t longest_read_kib = 1024;
    std::string log;  ///< CUFILE_LOGFILE_PATH
};

/// One for each stand-in that is loaded. Any thread.
class FakeCufile {
   public:
    virtual ~FakeCufile() = default;

    /// As just loaded: the driver closed, nothing registered, nothing scripted.
    virtual void reset() = 0;

    /// @param nth counted from 0 over all reads since reset().
    virtual void script(int nth, FakeRead read) = 0;

    /// The same for every read.
    virtual void script_all(FakeRead read) = 0;

    /// Results of the calls from now on; 0: they work.
    virtual void answer_driver_open(int code) = 0;
    virtual void answer_handle_register(int code) = 0;
    virtual void answer_buf_register(int code) = 0;

    /// Opening the driver closes descriptor 0 from now on, as the real one does where its device node is missing.
    virtual void close_input() = 0;

    virtual void take_path(FakePath path) = 0;

    /// Says that the calling thread has a GPU.
    virtual void attach_thread() = 0;

    virtual bool has_registered(std::byte const* base) const = 0;
    virtual FakeCounts counts() const = 0;
    virtual FakeSettings opened_with() const = 0;

    /// Everything that was done against the rules.
    virtual std::vector<std::string> violations() const = 0;
};

using GetFakeCufile = FakeCufile* (*)();
inline constexpr char const* kGetFakeCufile = "shardwise_fake_cufile";

}  // namespace shardwise::test
