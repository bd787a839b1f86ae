terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source = "hashicorp/google"
      # 8.x changes defaults (the scheme of backend services, IAP brands); nothing here relies on them.
      version = ">= 7.40, < 9"
    }
  }
}
