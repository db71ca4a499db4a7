#include "methods/common/prompt_mean.h"

#include "core/check.h"
#include "core/torch.h"

namespace graft {

Tensor prompt_mean(const Tensor& values, const Documents& documents, const void* owner) {
  if (documents.behind_prompt) return documents.carried->at(owner).to(values.scalar_type());
  CHECK_THAT(documents.share.defined() && documents.share.size(0) == values.size(0), "{} rows of documents with {}", values.size(0), documents.starts.back());
  const Tensor weighted = values * documents.share.to(values.scalar_type()).unsqueeze(1);
  const Tensor mean = at::zeros({documents.count(), values.size(1)}, values.options()).index_add(0, documents.of_row, weighted);
  if (documents.carried) (*documents.carried)[owner] = mean;
  return mean;
}

}  // namespace graft
