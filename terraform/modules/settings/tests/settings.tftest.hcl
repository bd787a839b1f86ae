variables {
  maps = ["labels", "fleet.images", "fleet.autoscaling.schedules"]
  declared = {
    project_id = "example-project"
    labels     = { team = "a" }
    budget     = null
    fleet = {
      autoscaling = { min = 1, cooldown_s = 120, schedules = { day = { min = 2, time_zone = "Etc/UTC" } } }
      images      = { first = { source = "i", disk = { size_gb = 20 } } }
      list        = ["a"]
    }
  }
}

run "takes_what_is_declared" {
  command = plan

  variables {
    given = { "a.tfvars" = {
      project_id = "example-project"
      labels     = { team = "a" }
      budget     = null
      fleet      = { autoscaling = { min = 1, schedules = { day = { min = 2 } } }, images = { first = { disk = { size_gb = 20 } } }, list = ["a"] }
    } }
  }

  assert {
    condition     = output.files == ["a.tfvars"]
    error_message = "The file must have been checked."
  }
}

run "refuses_an_unknown_variable" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "a.tfvars" = { projct_id = "example-project" } } }
}

run "refuses_an_unknown_key_of_an_object" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "a.tfvars" = { fleet = { autoscalling = { min = 1 } } } } }
}

run "refuses_an_unknown_key_at_the_third_level" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "a.tfvars" = { fleet = { autoscaling = { cooldwn_s = 60 } } } } }
}

run "refuses_an_unknown_key_of_a_map_s_element" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "a.tfvars" = { fleet = { images = { first = { sauce = "i" } } } } } }
}

run "refuses_an_unknown_key_at_the_last_level" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "a.tfvars" = { fleet = { autoscaling = { schedules = { day = { timezone = "Etc/UTC" } } } } } } }
}

run "takes_another_key_of_a_map" {
  command = plan
  variables { given = { "b.tfvars" = { labels = { team2 = "b" }, fleet = { images = { second = { source = "j", disk = { size_gb = 30 } } } } } } }
}

run "refuses_an_unknown_key_of_another_element" {
  command         = plan
  expect_failures = [output.files]
  variables { given = { "b.tfvars" = { fleet = { images = { second = { sauce = "j" } } } } } }
}
