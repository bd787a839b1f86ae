"""Does the fleet keep its SLOs at this load? Users, shapes, the gate and the report."""
