#include "sink/hdf5.hpp"

#include <algorithm>
#include <utility>

#include "sink/rank_files.hpp"

namespace shardwise {
namespace {

/// The system's words within a message of HDF5, which spreads time, file and buffer over several lines; all of it, on
/// one line, if there are none.
std::string system_words(std::string text) {
    constexpr std::string_view kBefore = "error message = '";
    auto const before = text.find(kBefore);
    auto const begin = before + kBefore.size();
    auto const end = before == std::string::npos ? before : text.find('\'', begin);
    if (end != std::string::npos) { return text.substr(begin, end - begin); }
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

}  // namespace

/// Two steps, or a name that is a macro would not be spelt out as the library has it.
#define SHARDWISE_TEXT(name) #name
#define SHARDWISE_FIND(function) , function(library.get<decltype(function)>(SHARDWISE_TEXT(function)))
Hdf5Library::Hdf5Library(std::string name) : library(std::move(name)) SHARDWISE_HDF5_FUNCTIONS(SHARDWISE_FIND) {
    H5open();  // or the variables are not set yet
}
#undef SHARDWISE_FIND
#undef SHARDWISE_TEXT

hid_t Hdf5Library::id(char const* variable) const {
    return *library.get<hid_t const*>(variable);
}

Hdf5Library const& hdf5() {
    static auto const* const library = new Hdf5Library(SHARDWISE_HDF5_LIBRARY);
    return *library;
}

void require_hdf5() {
    try {
        static_cast<void>(hdf5());
    } catch (Error const& error) { throw error.while_("--format hdf5"); }
}

/// The innermost message has the system's words.
std::string take_hdf5_error() {
    std::string text = "HDF5 gives no reason";
    auto const keep = [](unsigned, H5E_error2_t const* error, void* out) -> herr_t {
        if (error->desc != nullptr) { *static_cast<std::string*>(out) = error->desc; }
        return 0;
    };
    hdf5().H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep, &text);
    hdf5().H5Eclear2(H5E_DEFAULT);
    return system_words(std::move(text));
}

}  // namespace shardwise
