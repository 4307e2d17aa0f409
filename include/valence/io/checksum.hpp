#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "valence/core/config.hpp"

namespace valence {

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, as in iSCSI, RFC 3720 appendix B.4), fed piece by piece. It
/// finds every error burst of up to 32 bits, so every flipped bit; of other damage all but one in 2^32. It is no
/// signature. Eight bytes a step through eight tables ("slicing by 8"), the same number on machines of either byte
/// order.
class Crc32c {
 public:
  void update(std::span<const std::byte> bytes) {
    std::uint32_t crc = ~value_;
    std::size_t i = 0;
    const auto at = [&](std::size_t k) { return std::to_integer<std::uint32_t>(bytes[i + k]); };
    for (; i + 8 <= bytes.size(); i += 8) {
      const std::uint32_t low = crc ^ (at(0) | at(1) << 8 | at(2) << 16 | at(3) << 24);
      crc = tables[7][low & 0xFF] ^ tables[6][low >> 8 & 0xFF] ^ tables[5][low >> 16 & 0xFF] ^ tables[4][low >> 24] ^
            tables[3][at(4)] ^ tables[2][at(5)] ^ tables[1][at(6)] ^ tables[0][at(7)];
    }
    for (; i < bytes.size(); ++i) crc = tables[0][(crc ^ at(0)) & 0xFF] ^ crc >> 8;
    value_ = ~crc;
  }
  void update(std::string_view text) { update(std::as_bytes(std::span(text))); }
  std::uint32_t value() const { return value_; }

 private:
  using Tables = std::array<std::array<std::uint32_t, 256>, 8>;
  static constexpr Tables make_tables() {
    Tables out{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      std::uint32_t crc = byte;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78U : 0U);
      out[0][byte] = crc;
    }
    for (std::size_t t = 1; t < 8; ++t)
      for (std::size_t byte = 0; byte < 256; ++byte)
        out[t][byte] = out[0][out[t - 1][byte] & 0xFF] ^ out[t - 1][byte] >> 8;
    return out;
  }
  static const Tables tables;
  std::uint32_t value_ = 0;
};

inline constexpr Crc32c::Tables Crc32c::tables = Crc32c::make_tables();

}  // namespace valence
