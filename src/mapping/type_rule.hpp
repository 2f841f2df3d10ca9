/// @file
/// Which type a stored tensor gets when a model is loaded in another type than it is stored in.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <shardwise/catalog.hpp>
#include <shardwise/dtype.hpp>

#include "mapping/architecture_data.hpp"

namespace shardwise {

/// The reference's rule: tensors of F64, F32, F16 and BF16 get the type that was asked for; F32 if their parameter is
/// one that the architecture keeps in 32 bits. Everything else stays as it is stored: whole numbers, quantized tensors,
/// and the scales that go with them.
class TypeRule {
   public:
    /// @param wanted nothing: all stays as stored. @param keep must outlive the rule.
    TypeRule(Catalog const& catalog, KeepInFp32 const& keep, std::optional<DType> wanted);

    /// The type of @p stored as a source of parameter @p parameter.
    DType type_of(TensorRecord const& stored, std::string const& parameter) const;

    /// What was asked for, as it applies to numbers of @p parameter; nothing if nothing was.
    std::optional<DType> wanted_for(std::string const& parameter) const;

   private:
    bool is_scale(std::string_view stored) const;

    KeepInFp32 const& keep_;
    std::optional<DType> wanted_;
    std::set<std::string, std::less<>> quantized_modules_;  ///< that hold a quantized tensor
};

}  // namespace shardwise
