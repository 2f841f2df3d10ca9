// One rank's file by the serial C API: metadata and data.
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "sink/hdf5.hpp"
#include "sink/rank_files.hpp"

namespace shardwise {
namespace {

/// A float type by its bit fields, made from the 32-bit one: fields, then precision, then size, then bias, the order in
/// which every step is valid.
struct FloatFields {
    std::size_t sign, exponent, exponent_bits, mantissa_bits, bits, bias;
};

TypeId float_type(FloatFields const& fields) {
    TypeId type(check(hdf5().H5Tcopy(hdf5().id("H5T_IEEE_F32LE_g")), "copy a type"));
    check(hdf5().H5Tset_fields(type.get(), fields.sign, fields.exponent, fields.exponent_bits, 0, fields.mantissa_bits),
          "set float fields");
    check(hdf5().H5Tset_precision(type.get(), fields.bits), "set a precision");
    check(hdf5().H5Tset_size(type.get(), fields.bits / 8), "set a size");
    check(hdf5().H5Tset_ebias(type.get(), fields.bias), "set an exponent bias");
    return type;
}

TypeId copied(hid_t type) {
    return TypeId(check(hdf5().H5Tcopy(type), "copy a type"));
}

/// The stored type; nothing for types that are kept as plain bytes. HDF5 would take the greatest exponent of E4M3 for
/// infinity and turn 448 into NaN, so that one and the packed ones are bytes with their name beside.
std::optional<TypeId> native_type(DType dtype) {
    switch (dtype) {
        case DType::i8:
            return copied(hdf5().id("H5T_STD_I8LE_g"));
        case DType::i16:
            return copied(hdf5().id("H5T_STD_I16LE_g"));
        case DType::u16:
            return copied(hdf5().id("H5T_STD_U16LE_g"));
        case DType::i32:
            return copied(hdf5().id("H5T_STD_I32LE_g"));
        case DType::u32:
            return copied(hdf5().id("H5T_STD_U32LE_g"));
        case DType::i64:
            return copied(hdf5().id("H5T_STD_I64LE_g"));
        case DType::u64:
            return copied(hdf5().id("H5T_STD_U64LE_g"));
        case DType::f32:
            return copied(hdf5().id("H5T_IEEE_F32LE_g"));
        case DType::f64:
            return copied(hdf5().id("H5T_IEEE_F64LE_g"));
        case DType::f16: return float_type({15, 10, 5, 10, 16, 15});
        case DType::bf16: return float_type({15, 7, 8, 7, 16, 127});
        case DType::f8_e5m2: return float_type({7, 2, 5, 2, 8, 15});
        default: return std::nullopt;
    }
}

SpaceId space_of(std::vector<hsize_t> const& extents) {
    if (extents.empty()) { return SpaceId(check(hdf5().H5Screate(H5S_SCALAR), "make a scalar")); }
    return SpaceId(
        check(hdf5().H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), "make a shape"));
}

void put_text(hid_t object, char const* name, std::string const& text) {
    TypeId const type = copied(hdf5().id("H5T_C_S1_g"));
    check(hdf5().H5Tset_size(type.get(), text.size() + 1), "set a text's size");
    check(hdf5().H5Tset_cset(type.get(), H5T_CSET_UTF8), "set a text's encoding");
    SpaceId const scalar = space_of({});
    AttributeId const attribute(
        check(hdf5().H5Acreate2(object, name, type.get(), scalar.get(), H5P_DEFAULT, H5P_DEFAULT), name));
    check(hdf5().H5Awrite(attribute.get(), type.get(), text.c_str()), name);
}

void put_numbers(hid_t object, char const* name, std::vector<std::int64_t> const& numbers) {
    SpaceId const space = space_of({numbers.size()});
    AttributeId const attribute(check(
        hdf5().H5Acreate2(object, name, hdf5().id("H5T_STD_I64LE_g"), space.get(), H5P_DEFAULT, H5P_DEFAULT), name));
    if (!numbers.empty()) {
        check(hdf5().H5Awrite(attribute.get(), hdf5().id("H5T_NATIVE_INT64_g"), numbers.data()), name);
    }
}

void put_attributes(hid_t dataset, PlannedTensor const& tensor) {
    put_text(dataset, "dtype", std::string(to_string(tensor.dtype)));
    put_numbers(dataset, "global_shape", {tensor.global_shape.begin(), tensor.global_shape.end()});
    put_numbers(dataset, "local_shape", {tensor.local_shape.begin(), tensor.local_shape.end()});
    put_text(dataset, "placement", to_string(tensor.placement));
}

/// Extents as stored: those of the tensor, or a plain run of bytes where elements are smaller than one.
std::vector<hsize_t> stored_extents(PlannedTensor const& tensor) {
    if (bits(tensor.dtype) < 8) { return {tensor.size_bytes}; }
    std::vector<hsize_t> extents;
    for (auto const extent : tensor.local_shape) { extents.push_back(static_cast<hsize_t>(extent)); }
    if (tensor.dtype == DType::c64) { extents.push_back(2); }
    return extents;
}

void write_dataset(hid_t file, PlannedTensor const& tensor, std::span<std::byte const> bytes) {
    auto type = tensor.dtype == DType::c64 ? copied(hdf5().id("H5T_IEEE_F32LE_g"))
                                           : native_type(tensor.dtype).value_or(TypeId());
    if (!type) { type = copied(hdf5().id("H5T_STD_U8LE_g")); }
    SpaceId const space = space_of(stored_extents(tensor));
    PropertiesId const properties(
        check(hdf5().H5Pcreate(hdf5().id("H5P_CLS_DATASET_CREATE_ID_g")), "make dataset properties"));
    check(hdf5().H5Pset_layout(properties.get(), H5D_CONTIGUOUS), "set a contiguous layout");
    check(hdf5().H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY), "set early allocation");
    check(hdf5().H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER), "set no filling");
    PropertiesId const link(check(hdf5().H5Pcreate(hdf5().id("H5P_CLS_LINK_CREATE_ID_g")), "make link properties"));
    check(hdf5().H5Pset_create_intermediate_group(link.get(), 1), "allow names with slashes");
    DatasetId const dataset(check(hdf5().H5Dcreate2(file, tensor.name.c_str(), type.get(), space.get(), link.get(),
                                                    properties.get(), H5P_DEFAULT),
                                  tensor.name));
    put_attributes(dataset.get(), tensor);
    // Memory type and file type are the same, so bytes go through unconverted.
    if (!bytes.empty()) {
        check(hdf5().H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), tensor.name);
    }
}

FileId create_file(std::string const& path) {
    constexpr hsize_t kAlignment = 64ULL << 10U;
    constexpr hsize_t kAlignFrom = 4096;  // small objects, HDF5's own, are not worth the holes
    PropertiesId const access(check(hdf5().H5Pcreate(hdf5().id("H5P_CLS_FILE_ACCESS_ID_g")), "make file properties"));
    check(hdf5().H5Pset_alignment(access.get(), kAlignFrom, kAlignment), "set the alignment");
    return FileId(check(hdf5().H5Fcreate(path.c_str(), kTruncate, H5P_DEFAULT, access.get()), "create the file"));
}

}  // namespace

PendingFile write_hdf5_rank_file(ParameterStore const& store, Plan const& plan, std::string const& path) {
    hdf5().H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // errors come as exceptions, not on stderr
    PendingFile pending(path);
    try {
        auto file = create_file(pending.temporary_path());
        put_text(file.get(), "schema", "shardwise.rank/1");
        put_numbers(file.get(), "rank_world", {plan.rank, plan.mesh.world()});
        put_text(file.get(), "source_digest", plan.source_digest);
        for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
            write_dataset(file.get(), plan.tensors[i], store.on_host(i).bytes);
        }
        check(hdf5().H5Fclose(file.release()), "close the file");
    } catch (Error const& error) { throw error.while_(fmt::format("write {}", path)); }
    return pending;
}

}  // namespace shardwise
