// A client of OPC 40100-1 by node-opcua, for tests: URL NAMESPACE STATION. Each answer is a line.
const opcua = require("node-opcua-client");
const [url, namespace, station] = process.argv.slice(2);
const say = (answer) => console.log(JSON.stringify(answer));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function main() {
  const client = opcua.OPCUAClient.create({ endpointMustExist: false });
  await client.connect(url);
  const session = await client.createSession();
  const spaces = await session.readNamespaceArray();
  const own = spaces.indexOf("urn:vision-edge");
  const index = spaces.indexOf(namespace);
  const id = (...names) => `ns=${own};s=${station}/part/${["VisionSystem", ...names].join(".")}`;
  const read = async (nodeId) => (await session.read({ nodeId })).value.value;
  const machine = ["VisionStateMachine"];
  const automatic = [...machine, "AutomaticModeStateMachine"];
  for (let tries = 0; tries < 300; tries++) {
    const mode = await session.read({ nodeId: id(...automatic, "CurrentState") });
    if (mode.statusCode.isGood() && mode.value.value.text === "Ready") break;
    await pause(50);
  }
  const [type] = (await session.browse({
    nodeId: id(), referenceTypeId: "HasTypeDefinition", resultMask: 63,
  })).references;
  say({
    machine: (await read(id(...machine, "CurrentState"))).text,
    mode: (await read(id(...automatic, "CurrentState"))).text,
    type: type.browseName.name,
  });

  const events = await session.createSubscription2({
    requestedPublishingInterval: 20, requestedMaxKeepAliveCount: 20,
    requestedLifetimeCount: 1000, publishingEnabled: true,
  });
  const filter = opcua.constructEventFilter(
    [`${index}:ResultId`, `${index}:JobId`],
    opcua.ofType(opcua.resolveNodeId(await typeOf("ResultReadyEventType"))));
  const item = await events.monitor(
    { nodeId: id(), attributeId: opcua.AttributeIds.EventNotifier },
    { samplingInterval: 0, queueSize: 100, discardOldest: true, filter },
    opcua.TimestampsToReturn.Both);
  const told = new Promise((done) => item.on("changed", (fields) => done(fields)));

  async function typeOf(name) {
    const path = `/Types/EventTypes/BaseEventType/${index}:${name}`;
    const found = await session.translateBrowsePath(opcua.makeBrowsePath("RootFolder", path));
    return found.targets[0].targetId;
  }
  async function structure(name, fields) {
    const pattern = await dataType(name);
    return new opcua.Variant({
      dataType: opcua.DataType.ExtensionObject,
      value: await session.constructExtensionObject(pattern, fields),
    });
  }
  async function dataType(name) {
    const all = await children("i=22");
    return all.find((one) => one.browseName.name === name && one.browseName.namespaceIndex === index)
      .nodeId;
  }
  async function children(nodeId) {
    const found = (await session.browse({
      nodeId, referenceTypeId: "HasSubtype", includeSubtypes: true, resultMask: 63,
    })).references || [];
    const below = await Promise.all(
      found.filter((one) => one.nodeId.namespace === index).map((one) => children(one.nodeId)));
    return found.concat(...below);
  }
  const method = async (parent, name) => {
    const found = await session.translateBrowsePath(
      opcua.makeBrowsePath(id(...parent), `/${index}:${name}`));
    return found.targets[0].targetId;
  };
  const started = await session.call({
    objectId: id(...automatic),
    methodId: await method(automatic, "StartSingleJob"),
    inputArguments: [
      await structure("MeasIdDataType", { id: "m-1" }),
      await structure("PartIdDataType", { id: "p-1" }),
      await structure("RecipeIdExternalDataType", { id: "" }),
      await structure("ProductIdDataType", { id: "" }),
      new opcua.Variant({
        dataType: opcua.DataType.Variant, arrayType: opcua.VariantArrayType.Array, value: [] }),
    ],
  });
  if (!started.statusCode.isGood()) throw new Error(started.toString());
  const [job, error] = started.outputArguments;
  say({ started: { job: job.value.id, error: error.value } });
  const [result, itsJob] = await told;
  say({ event: { result: result.value.id, job: itsJob.value.id } });
  const found = await session.call({
    objectId: id("ResultManagement"),
    methodId: await method(["ResultManagement"], "GetResultById"),
    inputArguments: [
      await structure("ResultIdDataType", { id: result.value.id }),
      new opcua.Variant({ dataType: opcua.DataType.Int32, value: 0 }),
    ],
  });
  const value = found.outputArguments[1].value;
  say({
    result: {
      ResultId: value.resultId.id, PartId: value.partId.id, ResultState: value.resultState,
      ResultContent: value.resultContent.map((one) => one.value),
    },
  });
  await session.close();
  await client.disconnect();
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
