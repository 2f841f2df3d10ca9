/// @file
/// Libraries that are looked for while the program runs, so that one binary runs with and without them.
#pragma once

#include <string>

#include "util/handle.hpp"

namespace shardwise {

struct LibraryTraits {
    using type = void*;
    static type null() noexcept { return nullptr; }
    static void close(type library) noexcept;
};

/// A shared library and the functions in it. It must outlive whatever was got out of it.
class SharedLibrary {
   public:
    /// @param name a file name, looked for where the loader looks ("libcufile.so.0"), or a path.
    /// @throws Error unavailable with the name and the loader's words.
    explicit SharedLibrary(std::string name);

    std::string const& name() const noexcept { return name_; }

    /// The function called @p symbol.
    /// Example: get<decltype(&cuFileRead)>("cuFileRead").
    /// @throws Error unavailable with library, symbol and the loader's words.
    template <class Function>
    Function get(char const* symbol) const {
        return reinterpret_cast<Function>(address_of(symbol));
    }

    /// The same; null if this version of the library lacks it.
    template <class Function>
    Function find(char const* symbol) const noexcept {
        return reinterpret_cast<Function>(address_or_null(symbol));
    }

   private:
    void* address_of(char const* symbol) const;
    void* address_or_null(char const* symbol) const noexcept;

    std::string name_;
    UniqueHandle<LibraryTraits> library_;
};

}  // namespace shardwise
