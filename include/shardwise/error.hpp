/// @file
/// The one exception type of shardwise: a kind, which is also the exit status, and a full sentence.
#pragma once

#include <exception>
#include <string>
#include <string_view>

namespace shardwise {

/// What went wrong, as a script sees it: the value is the exit status of the program.
enum class Errc {
    usage = 2,        ///< an option, or a combination of options, that makes no sense
    input = 3,        ///< a checkpoint, configuration or rule that is wrong or does not fit
    io = 4,           ///< the operating system refused to read or write
    memory = 5,       ///< out of memory, or a step that cannot fit the staging budget
    peer = 6,         ///< another rank failed or did not answer before the deadline
    unavailable = 7,  ///< a back end that was asked for by name is not built or cannot work here
};

/// The name of the kind in one word, as reports print it.
char const* to_string(Errc code) noexcept;

/// One line that says what was tried, on what, with numbers, and the system's words last. Control characters, which
/// come from names in files, are shown as `?`.
class Error : public std::exception {
   public:
    Error(Errc code, std::string what);

    Errc code() const noexcept { return code_; }
    char const* what() const noexcept override { return what_.c_str(); }
    int exit_status() const noexcept { return static_cast<int>(code_); }

    /// The same error with what was being done put in front: `context: text`.
    Error while_(std::string_view context) const;

    /// Rank that failed, once ranks have agreed on the outcome; -1 before that.
    int rank() const noexcept { return rank_; }
    Error on_rank(int rank) const;

   private:
    Errc code_;
    int rank_ = -1;
    std::string what_;
};

/// Throws Error of kind io (memory for ENOMEM) with the system's text for @p error_number appended to @p what.
[[noreturn]] void throw_errno(int error_number, std::string const& what);

}  // namespace shardwise
