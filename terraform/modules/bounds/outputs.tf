output "numbers" {
  description = "The numbers, each within its bounds."
  value       = var.numbers
}
