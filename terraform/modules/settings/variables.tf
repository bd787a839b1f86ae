variable "given" {
  description = "File => what it sets, as provider::terraform::decode_tfvars reads it."
  type        = any
  nullable    = false
}

variable "declared" {
  description = "Every variable => its value. Terraform has made it of the declared type by then: it holds each key that the type knows, and no other."
  type        = any
  nullable    = false
}

variable "maps" {
  description = "Places whose keys are free names, such as regions. Another file of the same project may name others there than this plan."
  type        = list(string)
  default     = []
  nullable    = false
}
