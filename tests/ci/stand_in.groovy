// Jenkins, as far as a step of a shared library can tell: `groovy stand_in.groovy LIBRARY <REQUEST` carries the step out
// twice, to its end and interrupted on the boards, and writes down as JSON what was asked of Jenkins, with what around it.
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

def given = new JsonSlurper().parse(System.in)

def carriedOut = { boolean interrupted ->
    def told = []
    def around = [here: given.here, environment: given.env]
    def inside = { change, body ->
        def before = around
        around = before + change
        try { body() } finally { around = before }
    }
    def steps = [
        env: given.env,
        // As `EnvVars` does it: what is set to nothing is not there.
        withEnv: { settings, body ->
            def set = settings.collectEntries { it.toString().split('=', 2) as List }
            inside(environment: (around.environment + set).findAll { it.value }, body)
        },
        string: { it },
        withCredentials: { wanted, body ->
            def secrets = wanted.collectEntries { [it.variable, given.credentials[it.credentialsId]] }
            inside(environment: around.environment + secrets, body)
        },
        dir: { folder, body -> inside(here: new File(folder).absolute ? folder : "${around.here}/$folder".toString(), body) },
        sh: {
            told << around + [step: 'sh', script: it.script]
            if (interrupted && it.script.contains('picluster" run ')) throw new InterruptedException()
        },
        junit: { told << around + [step: 'junit', files: it.testResults] },
        archiveArtifacts: { told << around + [step: 'archiveArtifacts', files: it.artifacts] },
    ]
    try {
        new GroovyShell(new Binding(steps)).parse(new File(args[0])).call(given.asked)
    } catch (InterruptedException passedOn) {
        told << [step: 'interrupted']
    }
    told
}
println JsonOutput.toJson([good: carriedOut(false), cancelled: carriedOut(true)])
