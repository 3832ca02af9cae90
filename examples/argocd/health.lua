-- Health of a Kaon resource for Argo CD. One script for the four kinds: their conditions have one form (kstatus).
local health = { status = "Progressing", message = "Waiting for the operator" }
if obj.status == nil or obj.status.conditions == nil then
  return health
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "Waiting for the operator to see the new spec"
  return health
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local ready = found["Ready"]
if ready ~= nil then
  health.message = ready.message
end
if found["Stalled"] ~= nil and found["Stalled"].status == "True" then
  health.status = "Degraded"
  health.message = found["Stalled"].message
elseif ready ~= nil and ready.reason == "Suspended" then
  health.status = "Suspended"
elseif found["Reconciling"] ~= nil and found["Reconciling"].status == "True" then
  health.status = "Progressing"
elseif ready ~= nil and ready.status == "True" then
  health.status = "Healthy"
end
return health
