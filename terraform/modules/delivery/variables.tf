variable "project" {
  description = "Project: its id and number."
  type        = object({ id = string, number = string })
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+$", var.project.number))
    error_message = "project.number must be the project's number, not its id."
  }
}

variable "name" {
  description = "Prefix of every name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 21 lower-case letters, digits or dashes, start with a letter and not end with a dash."
  }
}

variable "github" {
  description = "The repository whose workflows may act here, and its numeric ids (`gh api repos/OWNER/NAME --jq '.id,.owner.id'`). The ids decide; the name is a description: names can be taken over, ids cannot."
  type = object({
    repository    = string
    repository_id = string
    owner_id      = string
  })
  nullable = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", var.github.repository))
    error_message = "github.repository must be OWNER/NAME."
  }

  validation {
    condition     = can(regex("^[0-9]+$", var.github.repository_id)) && can(regex("^[0-9]+$", var.github.owner_id))
    error_message = "github.repository_id and owner_id must be GitHub's numeric ids."
  }
}

variable "environments" {
  description = "Role => GitHub environment that a job must run in to take it. The environments' protection rules (required reviewers, branches) are what approval means."
  type = object({
    plan    = optional(string, "plan")
    bake    = optional(string, "bake")
    publish = optional(string, "publish")
    # A deployment starts with the canary and is promoted after approval: two environments, one identity.
    deploy = optional(list(string), ["canary", "production"])
  })
  default  = {}
  nullable = false

  validation {
    condition     = length(var.environments.deploy) > 0 && length(distinct(concat([var.environments.plan, var.environments.bake, var.environments.publish], var.environments.deploy))) == 3 + length(var.environments.deploy)
    error_message = "environments must all differ: an environment shared by two roles would give each the rights of the other."
  }

  validation {
    # They stand in the provider's condition and at the end of IAM members.
    condition     = alltrue([for e in concat([var.environments.plan, var.environments.bake, var.environments.publish], var.environments.deploy) : can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", e))])
    error_message = "environments must have 1 to 64 letters, digits, dots, dashes or underscores, and start with a letter or digit."
  }
}

variable "state_bucket" {
  description = "Bucket of Terraform's state, which plans read; null when plans run elsewhere."
  type        = string
  default     = null
}

variable "bake_vm" {
  description = "Service account (projects/<project>/serviceAccounts/<e-mail address>) that a VM has while it is baked; the builder may start VMs as it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^projects/[^/]+/serviceAccounts/[^/@]+@[^/]+$", var.bake_vm))
    error_message = "bake_vm must be a service account's full name: projects/<project>/serviceAccounts/<e-mail address>."
  }
}
