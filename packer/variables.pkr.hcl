# What an image is made of, and where. The four without a default are for googlecompute.image alone, which refuses them empty.
# A form is checked by replacing what has it by nothing: older Packers have regex_replace and no regex.

variable "contents" {
  type        = string
  default     = ".skfleet/image"
  description = "Directory that `skfleet app image` wrote, seen from where packer runs."

  validation {
    condition     = can(jsondecode(file("${abspath(var.contents)}/image.json")).bundle)
    error_message = "The contents must hold image.json: write them with `skfleet app image`, and run packer in the repository's root."
  }
}

variable "environment" {
  type        = string
  default     = "dev"
  description = "Environment the image is for; the image family is named after it."

  validation {
    condition     = contains(["dev", "prod"], var.environment)
    error_message = "The environment must be dev or prod."
  }
}

variable "debian" {
  type        = string
  default     = "12"
  description = "Debian of the base image: 12 (Python 3.11) or 13 (Python 3.13); the contents must be of the same Python."

  validation {
    condition     = contains(["12", "13"], var.debian)
    error_message = "The debian must be 12 or 13."
  }
}

variable "source_image" {
  type        = string
  default     = ""
  description = "Image of debian-cloud to start from; empty: the one that is pinned for `debian`. One image, never a family."

  validation {
    condition     = regex_replace(var.source_image, "^(debian-1[23]-[a-z]+(-arm64)?-v[0-9]{8})$", "") == ""
    error_message = "The source_image must pin one image of debian-cloud, for example debian-12-bookworm-v20261006."
  }
}

variable "name" {
  type        = string
  default     = "skfleet"
  description = "Beginning of the image's name and family; Terraform's `name`."

  validation {
    condition     = var.name != "" && regex_replace(var.name, "^[a-z][a-z0-9-]{0,19}$", "") == ""
    error_message = "The name must be at most 20 lower-case letters, digits and dashes, beginning with a letter."
  }
}

variable "project_id" {
  type        = string
  default     = ""
  description = "Project in which the image is baked and kept."

  validation {
    condition     = regex_replace(var.project_id, "^([a-z][a-z0-9-]{4,28}[a-z0-9])$", "") == ""
    error_message = "The project_id must be a project's id (6 to 30 lower-case letters, digits, dashes), not its name or number."
  }
}

variable "zone" {
  type        = string
  default     = ""
  description = "Zone of the VM, for example europe-west1-b."

  validation {
    condition     = regex_replace(var.zone, "^([a-z]+-[a-z]+[0-9]+-[a-z])$", "") == ""
    error_message = "The zone must be one zone, for example europe-west1-b."
  }
}

variable "subnetwork" {
  type        = string
  default     = ""
  description = "Subnet of Terraform's network in the zone's region; its firewall lets IAP's tunnel reach the VM."

  validation {
    condition     = regex_replace(var.subnetwork, "^([a-z]([a-z0-9-]{0,61}[a-z0-9])?|projects/.+/subnetworks/[a-z0-9-]+)$", "") == ""
    error_message = "The subnetwork must be a subnet's name or projects/PROJECT/regions/REGION/subnetworks/NAME."
  }
}

variable "service_account" {
  type        = string
  default     = ""
  description = "E-mail address of the VM's account while it is baked (`terraform output bake_vm`): it has no roles."

  validation {
    condition     = regex_replace(var.service_account, "^([a-z0-9-]+@[a-z0-9.-]+[.]iam[.]gserviceaccount[.]com)$", "") == ""
    error_message = "The service_account must be a service account's e-mail address; the default compute account is not for baking."
  }
}

variable "trusted_keys" {
  type        = list(string)
  default     = []
  description = "Public keys (PEM files *.pub, seen from where packer runs) beside those of packer/trusted-keys: VMs take only releases that one of them signed. None of either: signatures are not required."

  validation {
    condition = length([
      for path in var.trusted_keys : path if can(file(abspath(path))) && regex_replace(path, "[.]pub$", "") != path
    ]) == length(var.trusted_keys)
    error_message = "The trusted_keys must be files *.pub that are there, as from openssl ec -in key.pem -pubout -out NAME.pub."
  }
}

variable "machine_type" {
  type        = string
  default     = "e2-standard-2"
  description = "Machine type of the VM while it is baked."
}

variable "disk_size" {
  type        = number
  default     = 10
  description = "Size of the image in GB; a fleet's disks can be larger, never smaller."

  validation {
    condition     = var.disk_size >= 10 && var.disk_size <= 100
    error_message = "The disk_size must be 10 to 100 GB."
  }
}

variable "skip_create_image" {
  type        = bool
  default     = false
  description = "Bake, test, and keep nothing: for pull requests."
}

variable "host" {
  type        = string
  default     = ""
  description = "null.host alone: address of the host that becomes the image."
}

variable "host_user" {
  type        = string
  default     = "root"
  description = "null.host alone: user of the host who is, or may become, root; stays in the image if the host has the user in its files."
}

variable "host_private_key_file" {
  type        = string
  default     = ""
  description = "null.host alone: the user's ssh key."
}
