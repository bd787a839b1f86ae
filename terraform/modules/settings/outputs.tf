output "files" {
  description = "Files that were checked."
  value       = keys(var.given)

  precondition {
    condition     = length(local.errors) == 0
    error_message = join("\n", local.errors)
  }
}
