# Rollouts leave their traces in the bucket, so its audit log counts them; no program needs to report anything.
locals {
  written = "protoPayload.serviceName=\"storage.googleapis.com\" AND protoPayload.methodName=\"storage.objects.create\" AND resource.labels.bucket_name=\"${var.bucket}\""

  rollout_metrics = {
    desired = {
      description = "Changes of a fleet's desired release: completed rollouts and rollbacks."
      filter      = "${local.written} AND protoPayload.resourceName=~\"/objects/fleets/[^/]+/desired[.]json$\""
    }
    evidence = {
      description = "Writes of rollouts' evidence: a rollout is under way."
      filter      = "${local.written} AND protoPayload.resourceName=~\"/objects/fleets/[^/]+/rollouts/\""
    }
    environment = {
      description = "Changes of who may call."
      filter      = "${local.written} AND protoPayload.resourceName=~\"/objects/fleets/[^/]+/environment[.]json$\""
    }
  }
}

resource "google_logging_metric" "rollouts" {
  for_each = local.rollout_metrics

  project     = var.project_id
  name        = "${var.name}/${each.key}"
  description = each.value.description
  filter      = each.value.filter

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"
    display_name = "${var.name} ${each.key}"
    labels {
      key         = "fleet"
      value_type  = "STRING"
      description = "The fleet whose folder was written."
    }
  }

  label_extractors = {
    fleet = "REGEXP_EXTRACT(protoPayload.resourceName, \"/objects/fleets/([^/]+)/\")"
  }
}

# VMs that fail to converge: they stay unready, which is safe and must not stay unseen.
resource "google_logging_metric" "converge_failures" {
  project     = var.project_id
  name        = "${var.name}/converge_failures"
  description = "Failed runs of skfleet-converge on the VMs."
  filter      = "resource.type=\"gce_instance\" AND jsonPayload._SYSTEMD_UNIT=\"skfleet-converge.service\" AND severity>=ERROR"

  metric_descriptor {
    metric_kind  = "DELTA"
    value_type   = "INT64"
    unit         = "1"
    display_name = "${var.name} converge failures"
  }
}
