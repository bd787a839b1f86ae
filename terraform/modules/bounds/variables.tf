variable "document" {
  description = "File whose numbers these are, for the message: edge.yml or slo.yml."
  type        = string
  nullable    = false
}

variable "numbers" {
  description = "Numbers with the bounds that Google documents, both inclusive; `key` is the number's place in the document, `product` whose bounds they are. One number may be listed once for every product that takes it. `whole`: the API takes integers alone."
  type = list(object({
    key     = string
    value   = number
    min     = number
    max     = number
    product = string
    whole   = optional(bool, true)
  }))
  nullable = false

  validation {
    condition = alltrue([for n in var.numbers : n.value >= n.min && n.value <= n.max && (!n.whole || n.value == floor(n.value))])
    error_message = join("\n", [
      for n in var.numbers : "Invalid ${n.key} '${n.value}' in ${var.document}: expected ${n.whole ? "a whole number from " : ""}${n.min} to ${n.max}, which is what Google's ${n.product} takes."
      if !(n.value >= n.min && n.value <= n.max && (!n.whole || n.value == floor(n.value)))
    ])
  }
}
