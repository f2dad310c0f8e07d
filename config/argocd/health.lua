-- Health of a Registry for Argo CD, as `resource.customizations.health.berth.dev_Registry` of the ConfigMap `argocd-cm`.
--
-- Degraded: a person must act (Stalled), also while the Pods of before still serve, or clients are not served at all.
-- Suspended: `spec.paused`, or no replica is asked for. Progressing: not yet as asked. Healthy: as asked, and clients
-- are served.

local health = { status = "Progressing", message = "The operator has not reconciled this Registry yet" }

local spec = obj.spec or {}
local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready, reconciling, stalled = conditions.Ready, conditions.Reconciling, conditions.Stalled

-- First: a paused Registry is not reconciled, so its status may be that of an earlier spec.
if spec.paused == true then
  health.status = "Suspended"
  health.message = "spec.paused is true: nothing is changed"
  return health
end
-- A status of an earlier spec says nothing about this one.
if status.observedGeneration ~= nil and status.observedGeneration ~= obj.metadata.generation then
  health.message = "The operator has not seen this generation yet"
  return health
end
if stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
  health.message = stalled.message
elseif reconciling ~= nil and reconciling.status == "True" then
  health.message = reconciling.message
elseif ready == nil or ready.status == "Unknown" then
  if ready ~= nil and ready.message ~= nil then
    health.message = ready.message
  end
elseif spec.replicas == 0 then
  health.status = "Suspended"
  health.message = ready.message
elseif ready.status == "True" then
  health.status = "Healthy"
  health.message = ready.message
else
  health.status = "Degraded"
  health.message = ready.message
end
return health
