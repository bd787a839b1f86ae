variable "project_id" {
  description = "Project that holds the load generators."
  type        = string
  nullable    = false
}

variable "name" {
  description = "Prefix of every name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 22 lower-case letters, digits or dashes, start with a letter and not end with a dash."
  }
}

variable "network" {
  description = "Id of the network, the subnet's self link and the zone of the load generators. They have no public address: the external load balancer is reached through NAT."
  type = object({
    id         = string
    subnetwork = string
    zone       = string
  })
  nullable = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+-[a-z]$", var.network.zone))
    error_message = "network.zone must be a zone, such as europe-west1-b."
  }
}

variable "generators" {
  description = "How many, of what, and for how long at most: Google stops a generator `max_hours` after its start, so that a forgotten one costs its disk alone. The first one leads."
  type = object({
    count        = optional(number, 0)
    machine_type = optional(string, "e2-standard-4")
    image        = optional(string) # projects/<project>/global/images/<name>, baked with the locust role
    disk_gb      = optional(number, 20)
    max_hours    = optional(number, 4)
    labels       = optional(map(string), {})
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.generators.count >= 0 && var.generators.count <= 20
    error_message = "generators.count must lie between 0 and 20."
  }

  validation {
    condition     = var.generators.count == 0 || can(regex("^projects/[^/]+/global/images/[a-z][a-z0-9-]*$", var.generators.image))
    error_message = "generators.image must pin one image (projects/<project>/global/images/<name>) when there are generators."
  }

  validation {
    condition     = var.generators.max_hours >= 1 && var.generators.max_hours <= 48
    error_message = "generators.max_hours must lie between 1 and 48: the cap is what keeps a forgotten load test cheap."
  }
}

variable "operators" {
  description = "Who may act as the generators' service account (ssh by OS Login asks for it): free name => IAM member."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for m in var.operators : !startswith(m, "all") && can(regex("^[a-zA-Z]+:", m))])
    error_message = "operators must be IAM members with a kind (serviceAccount:, user:, group:, …); the public is never one of them."
  }
}
