# Rules are read from the smallest priority on, and the first that matches decides. So refusals come first, then who skips
# the rate limit, then the rate limit for all that may call, then everyone else.
locals {
  chunk = 10 # a rule takes ten ranges

  exempt  = chunklist(var.armor.exempt_ranges, local.chunk)
  allowed = length(var.armor.allowed_ranges) > 0 ? chunklist(var.armor.allowed_ranges, local.chunk) : [["*"]]

  waf = { for i, name in sort(keys(var.armor.waf)) : name => merge(var.armor.waf[name], { priority = 1100 + i }) }
}

resource "google_compute_security_policy" "this" {
  project     = var.project.id
  name        = "${var.name}-external"
  description = "Before IAP: known attacks, client addresses, rate."
  type        = "CLOUD_ARMOR"

  advanced_options_config {
    json_parsing = "STANDARD" # rules look into the JSON, not at its punctuation
    log_level    = "NORMAL"
  }

  dynamic "adaptive_protection_config" {
    for_each = var.armor.adaptive ? [1] : []
    content {
      layer_7_ddos_defense_config {
        enable          = true
        rule_visibility = "STANDARD"
      }
    }
  }

  rule {
    description = "Log4j and its like (CVE-2021-44228)."
    action      = "deny(403)"
    priority    = 1000
    match {
      expr {
        expression = "evaluatePreconfiguredExpr('cve-canary')"
      }
    }
  }

  dynamic "rule" {
    for_each = local.waf
    content {
      description = "Preconfigured rules ${rule.key}."
      action      = "deny(403)"
      priority    = rule.value.priority
      preview     = rule.value.preview
      match {
        expr {
          expression = "evaluatePreconfiguredWaf('${rule.key}', {'sensitivity': ${rule.value.sensitivity}})"
        }
      }
    }
  }

  dynamic "rule" {
    for_each = local.exempt
    content {
      description = "Outside the rate limit."
      action      = "allow"
      priority    = 2000 + rule.key
      match {
        versioned_expr = "SRC_IPS_V1"
        config {
          src_ip_ranges = rule.value
        }
      }
    }
  }

  dynamic "rule" {
    for_each = local.allowed
    content {
      description = "Rate of one client address."
      action      = "throttle"
      priority    = 3000 + rule.key
      match {
        versioned_expr = "SRC_IPS_V1"
        config {
          src_ip_ranges = rule.value
        }
      }
      rate_limit_options {
        conform_action = "allow"
        exceed_action  = "deny(429)"
        enforce_on_key = "IP"
        rate_limit_threshold {
          count        = var.armor.rate_limit.requests
          interval_sec = var.armor.rate_limit.interval_s
        }
      }
    }
  }

  rule {
    description = length(var.armor.allowed_ranges) > 0 ? "Not on the allow list." : "Default: IAP decides."
    action      = length(var.armor.allowed_ranges) > 0 ? "deny(403)" : "allow"
    priority    = 2147483647
    match {
      versioned_expr = "SRC_IPS_V1"
      config {
        src_ip_ranges = ["*"]
      }
    }
  }
}
