// The places in a forward pass that can be edited. A model names them, a method fills them; neither knows the other.
#pragma once
#include <cstdint>
#include <string>

namespace graft {

enum class Site : uint8_t {
  Q, K, V, Qkv,           // attention inputs; Qkv is one stored weight for all three (GPT-2's c_attn)
  O,                      // attention output projection
  Gate, Up, GateUp, Down, // the MLP's linears; GateUp is one stored weight for both (Phi-3's gate_up_proj)
  ProjectIn, ProjectOut,  // between embeddings or head and the blocks where their widths differ
  Head,                   // the output head
  Embed,                  // token embedding rows
  Kv,                     // extra keys and values in front of every document
  AttnOut, MlpOut,        // sub-layer outputs before they join the residual stream
  MlpAct,                 // the MLP's inner activation
  BlockOut,               // the residual stream after a block
  EmbedNorm, Norm1, PostNorm1, QNorm, KNorm, Norm2, PostNorm2, FinalNorm  // normalisations
};
inline constexpr int kSites = static_cast<int>(Site::FinalNorm) + 1;

const char* site_name(Site site);
inline bool is_per_layer(Site site) {
  return site != Site::Head && site != Site::Embed && site != Site::FinalNorm && site != Site::ProjectIn && site != Site::ProjectOut &&
         site != Site::EmbedNorm;
}

}  // namespace graft
