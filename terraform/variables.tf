variable "project_id" {
  description = "Project that everything is built in."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id (6 to 30 lower-case letters, digits, dashes), not its number or display name."
  }
}

variable "name" {
  description = "Prefix of every name. A fleet is called <name>-<region>."
  type        = string
  default     = "skfleet"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 21 lower-case letters, digits or dashes, start with a letter and not end with a dash."
  }
}

variable "environment" {
  description = "dev or prod. In prod every region's minimum covers its zones, the internal listener asks for identity, and uptime is watched."
  type        = string
  nullable    = false

  validation {
    condition     = contains(["dev", "prod"], var.environment)
    error_message = "environment must be dev or prod."
  }
}

variable "labels" {
  description = "Labels of what bears labels. A change makes new templates: see fleet.images."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "regions" {
  description = "Region => its zones, subnets, and what differs there from `fleet`. `serving = false` takes it out of both load balancers and keeps its VMs: the step before a region is removed."
  type = map(object({
    zones       = list(string)
    range       = string
    proxy_range = string
    serving     = optional(bool, true)
    nat = optional(object({
      enabled   = optional(bool, true)
      addresses = optional(number, 0)
      log       = optional(string)
    }), {})
    autoscaling   = optional(object({ min = optional(number), max = optional(number) }), {})
    initial_image = optional(string)
    # The internal load balancer's certificate: a regional Compute Engine certificate, or a regional Certificate Manager one.
    internal_certificates         = optional(list(string), [])
    internal_managed_certificates = optional(list(string), [])
  }))
  nullable = false

  validation {
    condition     = length([for r in var.regions : r if r.serving]) > 0
    error_message = "at least one region must be serving."
  }

  validation {
    condition     = alltrue([for region in keys(var.regions) : can(regex("^[a-z]+-[a-z]+[0-9]+$", region))])
    error_message = "keys of regions must be regions of Compute Engine, such as europe-west1."
  }
}

variable "flow_logs" {
  description = "Flow logs of the VMs' subnets (see modules/network): the sampled share, and over how long flows are gathered."
  type = object({
    sampling = optional(number)
    interval = optional(string)
  })
  default  = {}
  nullable = false
}

variable "fleet" {
  description = "What every region's fleet is made of; see modules/fleet for each part."
  type = object({
    images = map(object({
      source       = string
      machine_type = optional(string, "e2-standard-2")
      spot         = optional(bool, false)
      disk = optional(object({
        size_gb = optional(number, 20)
        type    = optional(string, "pd-balanced")
        kms_key = optional(string)
      }), {})
    }))
    initial_image = string
    autoscaling = object({
      min                   = number
      max                   = number
      cpu_target            = optional(number, 0.6)
      predictive            = optional(bool, false)
      load_balancing_target = optional(number)
      measured_boot_s       = optional(number, 90)
      cooldown_s            = optional(number, 120)
      stabilization_s       = optional(number, 600)
      scale_in = optional(object({
        replicas = optional(number)
        percent  = optional(number)
        window_s = optional(number, 600)
      }), { replicas = 1 })
      schedules = optional(map(object({
        min         = number
        cron        = string
        duration_s  = number
        time_zone   = optional(string, "Etc/UTC")
        description = optional(string)
        disabled    = optional(bool, false)
      })), {})
    })
    update = optional(object({
      max_surge       = optional(number)
      max_unavailable = optional(number, 0)
    }), {})
    standby = optional(object({
      stopped         = optional(number, 0)
      initial_delay_s = optional(number, 300)
    }), {})
    max_rate_per_instance = optional(number, 100)
  })
  nullable = false
}

variable "artifacts" {
  description = "The bucket (see modules/artifacts); its name defaults to <project_id>-<name>. `location` is a region, or a continent with two `data_locations`."
  type = object({
    name             = optional(string)
    location         = string
    data_locations   = optional(list(string), [])
    turbo            = optional(bool, false)
    soft_delete_days = optional(number, 30)
    kms_key          = optional(string)
    noncurrent = optional(object({
      days = optional(number, 90)
      keep = optional(number, 20)
    }), {})
  })
  nullable = false
}

variable "members" {
  description = "People and programs by role: free name => IAM member. Workload identities and the load generators join them by themselves."
  type = object({
    publishers = optional(map(string), {}) # publish models and builds
    deployers  = optional(map(string), {}) # roll out: bucket, group, ssh
    terraform  = optional(map(string), {}) # apply this tree, when that is not an owner: environment.json
    accessors  = optional(map(string), {}) # call the service through IAP
  })
  default  = {}
  nullable = false
}

variable "external" {
  description = "The external load balancer (see modules/edge_external)."
  type = object({
    domains              = list(string)
    certificates         = optional(list(string), [])
    dns_zone             = optional(string)
    programmatic_clients = optional(list(string), [])
    armor = optional(object({
      allowed_ranges = optional(list(string), [])
      exempt_ranges  = optional(list(string), [])
      rate_limit = optional(object({
        requests   = optional(number, 6000)
        interval_s = optional(number, 60)
      }), {})
      # Preconfigured rule sets by name; left out: the module's. {} has none.
      waf = optional(map(object({
        sensitivity = optional(number)
        preview     = optional(bool)
      })))
      adaptive = optional(bool, true)
    }), {})
    log_sample_rate = optional(number, 1)
  })
  nullable = false
}

variable "iap_oauth_client" {
  description = "OAuth client of your own, to admit users from outside the organisation; give it by TF_VAR_iap_oauth_client, never in a file. Its secret is kept in the state."
  type = object({
    client_id     = optional(string)
    client_secret = optional(string)
  })
  default   = {}
  nullable  = false
  sensitive = true
}

variable "internal" {
  description = "The internal load balancer (see modules/edge_internal) and whom its listener admits: service accounts by e-mail address. `identity = none` admits every caller in the network."
  type = object({
    hostname        = optional(string, "skfleet.internal")
    identity        = optional(string, "id-token")
    audiences       = optional(list(string), []) # beside https://<hostname>
    allowed_callers = optional(list(string), [])
    allowed_ranges  = optional(list(string), [])
    global_access   = optional(bool, true)
    iap = optional(object({
      enabled = optional(bool, false)
      members = optional(map(string), {})
    }), {})
    log_sample_rate = optional(number, 1)
  })
  default  = {}
  nullable = false

  validation {
    condition     = contains(["id-token", "none"], var.internal.identity)
    error_message = "internal.identity must be id-token or none."
  }

  validation {
    condition     = var.environment != "prod" || var.internal.identity == "id-token"
    error_message = "in prod internal.identity must be id-token: `none` lets anything in the network call."
  }

  validation {
    condition     = alltrue([for c in var.internal.allowed_callers : can(regex("^[^@: ]+@[^@ ]+$", c))])
    error_message = "internal.allowed_callers must be e-mail addresses of service accounts, without serviceAccount: in front."
  }
}

variable "ssh_runners" {
  description = "Service accounts (e-mail addresses) of runners inside the network that ssh to the VMs directly; they are deployers. Everyone else comes through IAP."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for e in var.ssh_runners : can(regex("^[^@: ]+@[^@ ]+$", e))])
    error_message = "ssh_runners must be e-mail addresses of service accounts, without serviceAccount: in front."
  }
}

variable "observability" {
  description = "Alerts, logs and budget (see modules/slo)."
  type = object({
    channels = optional(object({
      emails   = optional(map(string), {})
      existing = optional(list(string), [])
    }), {})
    uptime        = optional(bool, true)
    uptime_path   = optional(string)
    long_lookback = optional(bool, false)
    project_wide = optional(object({
      enabled            = optional(bool, true)
      log_retention_days = optional(number, 30)
      audit_reads        = optional(bool, false)
    }), {})
    budget = optional(object({
      billing_account = string
      amount          = number
      currency        = optional(string, "USD")
      thresholds      = optional(list(number), [0.5, 0.9, 1])
    }))
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.environment != "prod" || length(var.observability.channels.emails) + length(var.observability.channels.existing) > 0
    error_message = "in prod observability.channels must name somebody: an alert that nobody hears is none."
  }
}

variable "loadgen" {
  description = "Load generators (see modules/loadgen) and the region they run in; none by default."
  type = object({
    region       = optional(string)
    count        = optional(number, 0)
    machine_type = optional(string, "e2-standard-4")
    image        = optional(string)
    disk_gb      = optional(number)
    max_hours    = optional(number, 4)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.loadgen.region == null || contains(keys(var.regions), coalesce(var.loadgen.region, "-"))
    error_message = "loadgen.region must be a key of regions."
  }
}

variable "delivery" {
  description = "Workload identities for GitHub workflows (see modules/delivery); null: none."
  type = object({
    repository    = string
    repository_id = string
    owner_id      = string
    state_bucket  = optional(string)
    environments = optional(object({
      plan    = optional(string, "plan")
      bake    = optional(string, "bake")
      publish = optional(string, "publish")
      deploy  = optional(list(string), ["canary", "production"])
    }), {})
  })
  default = null
}
