variable "project_id" {
  description = "Project that holds the network."
  type        = string
  nullable    = false
}

variable "name" {
  description = "Prefix of every name; the network itself bears it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}[a-z0-9]$", var.name))
    error_message = "name must have 3 to 25 lower-case letters, digits or dashes, start with a letter and not end with a dash."
  }
}

variable "regions" {
  description = "Region => its subnets and its way out. `range` holds the VMs, `proxy_range` the managed proxies of the internal load balancer (at least /26)."
  type = map(object({
    range       = string
    proxy_range = string
    nat = optional(object({
      enabled   = optional(bool, true) # VMs have no public address: without NAT they reach Google's APIs alone
      addresses = optional(number, 0)  # reserved addresses, for peers that keep an allow list; 0: Google picks
      log       = optional(string, "ERRORS_ONLY")
    }), {})
  }))
  nullable = false

  validation {
    condition     = length(var.regions) > 0
    error_message = "regions must name at least one region."
  }

  validation {
    condition     = alltrue([for r in var.regions : can(cidrhost(r.range, 0)) && can(cidrhost(r.proxy_range, 0))])
    error_message = "range and proxy_range must be IPv4 ranges in CIDR form, such as 10.10.0.0/24."
  }

  validation {
    condition     = alltrue([for r in var.regions : try(tonumber(split("/", r.proxy_range)[1]), 32) <= 26])
    error_message = "proxy_range must be /26 or larger: Google refuses a smaller proxy-only subnet."
  }

  validation {
    condition     = length(distinct(flatten([for r in var.regions : [r.range, r.proxy_range]]))) == 2 * length(var.regions)
    error_message = "every range and proxy_range must differ from all others: subnets of one network cannot overlap."
  }

  validation {
    condition     = alltrue([for r in var.regions : contains(["ERRORS_ONLY", "TRANSLATIONS_ONLY", "ALL"], r.nat.log)])
    error_message = "nat.log must be ERRORS_ONLY, TRANSLATIONS_ONLY or ALL."
  }

  validation {
    condition     = alltrue([for r in var.regions : r.nat.addresses >= 0 && r.nat.addresses <= 8 && (r.nat.enabled || r.nat.addresses == 0)])
    error_message = "nat.addresses must be between 0 and 8, and 0 when NAT is off."
  }
}

variable "listeners" {
  description = "Ports of the VMs, as edge.yml declares them under `listeners`. `also` is admitted beside `port`, while load balancers move."
  type = object({
    iap      = object({ name = string, port = number, also = optional(number) })
    internal = object({ name = string, port = number, also = optional(number) })
    health   = object({ name = string, port = number, also = optional(number) })
  })
  nullable = false

  validation {
    condition     = length(distinct(flatten([for l in var.listeners : compact([l.port, l.also])]))) == length(flatten([for l in var.listeners : compact([l.port, l.also])]))
    error_message = "the three listeners must have ports of their own, `also` included: on a shared port 'no IAP header' would mean 'internal'."
  }
}

variable "service_accounts" {
  description = "Who the firewall speaks of, as e-mail addresses: `fleet` serves; `ssh_targets` are further VMs that take ssh; `ssh_runners` may ssh from inside the network."
  type = object({
    fleet       = list(string)
    ssh_targets = optional(list(string), [])
    ssh_runners = optional(list(string), [])
  })
  nullable = false

  validation {
    condition     = length(var.service_accounts.fleet) > 0
    error_message = "service_accounts.fleet must name the fleet's service account: rules without a target would open every VM of the network."
  }

  validation {
    # A firewall rule takes at most ten service accounts.
    condition     = length(var.service_accounts.fleet) + length(var.service_accounts.ssh_targets) <= 10
    error_message = "a firewall rule takes ten service accounts: service_accounts.fleet and ssh_targets together exceed that."
  }
}

variable "internal_iap" {
  description = "True when the internal load balancer uses IAP: it then speaks to the IAP listener, which admits its proxies too."
  type        = bool
  default     = false
  nullable    = false
}

variable "flow_logs" {
  description = "Sampling of the VM subnets' flow logs (0 to 1), and over how long flows are gathered."
  type = object({
    sampling = optional(number, 0.1)
    interval = optional(string, "INTERVAL_10_MIN")
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.flow_logs.sampling > 0 && var.flow_logs.sampling <= 1
    error_message = "flow_logs.sampling must lie above 0 and at most at 1."
  }
}
